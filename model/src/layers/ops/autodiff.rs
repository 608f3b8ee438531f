//! What the hand-written backward passes of the operations share.
//!
//! Each keeps what its formula needs and nothing more.

use burn::backend::autodiff::grads::Gradients;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Ends an operation: registers it with its state where a parent is tracked.
macro_rules! finish {
    ($operation:ident, $strategy:ident, $nodes:expr, $state:expr, $output:expr) => {
        match $operation
            .prepare::<$strategy>($nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish($state, $output),
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}
pub(super) use finish;

/// Registers the gradients of those parents that are tracked.
pub(super) fn register<B: Backend, const N: usize>(
    grads: &mut Gradients,
    nodes: [Option<burn_autodiff::NodeId>; N],
    values: [FloatTensor<B>; N],
) {
    for (node, value) in nodes.into_iter().zip(values) {
        if let Some(node) = node {
            grads.register::<B>(node, value);
        }
    }
}

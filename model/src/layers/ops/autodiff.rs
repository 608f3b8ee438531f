//! What the hand-written backward passes of the operations share.
//!
//! Each keeps what its formula needs and nothing more.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::Ops;
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

/// The gradient that an operation's input, a tensor like another one, has from elsewhere so far; it has none afterwards.
pub(super) fn take_gradient<B: Backend, S, const N: usize>(
    grads: &mut Gradients,
    ops: &Ops<S, N>,
    place: usize,
    like: &FloatTensor<B>,
) -> Option<FloatTensor<B>> {
    let node = ops.parents[place].as_ref()?;
    // Gradients are found by a tensor's node alone.
    let mut tensor: FloatTensor<Autodiff<B>> = FloatTensor::<Autodiff<B>>::new(like.clone());
    tensor.node = node.clone();
    grads.remove(&tensor)
}

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

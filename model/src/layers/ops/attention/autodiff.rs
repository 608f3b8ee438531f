//! The backward pass of attention, which keeps its operands, its result and the logarithms of the sums, but no
//! scores.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;

use super::{AttentionInput, AttentionOps, AttentionOutput};
use crate::layers::ops::autodiff::{finish, register};

#[derive(Debug)]
struct Attention;

impl<B: AttentionOps> Backward<B, 3> for Attention {
    type State = (AttentionInput<B>, AttentionOutput<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (input, output) = ops.state;
        let (grad_query, grad_key, grad_value) = B::glm_attention_backward(input, output, grad);
        let nodes = ops.parents.map(|node| node.map(|n| n.id));
        register::<B, 3>(grads, nodes, [grad_query, grad_key, grad_value]);
    }
}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn glm_attention(input: AttentionInput<Self>) -> AttentionOutput<Self> {
        let nodes = [input.query.node, input.key.node, input.value.node];
        let inner = AttentionInput::<B> {
            query: input.query.primitive,
            key: input.key.primitive,
            value: input.value.primitive,
            mask: input.mask.inner(),
            scale: input.scale,
        };
        let output = B::glm_attention(inner.clone());
        // Only the backward pass reads it: it never carries a gradient.
        let log_sum_exp = <Self as AutodiffBackend>::from_inner(output.log_sum_exp.clone());
        let result = output.output.clone();
        AttentionOutput {
            output: finish!(Attention, C, nodes, (inner, output), result),
            log_sum_exp,
        }
    }
}

//! The backward pass of dropout: the same mask on the gradient. It keeps the seed alone.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::{Dropout, DropoutOps};
use crate::layers::ops::autodiff::{finish, register};

#[derive(Debug)]
struct DropoutBackward;

impl<B: DropoutOps> Backward<B, 1> for DropoutBackward {
    type State = Dropout;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let grad_x = B::glm_dropout(grad, ops.state);
        register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
    }
}

impl<B: DropoutOps, C: CheckpointStrategy> DropoutOps for Autodiff<B, C> {
    fn glm_dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        let output = B::glm_dropout(x.primitive, dropout);
        finish!(DropoutBackward, C, [x.node], dropout, output)
    }
}

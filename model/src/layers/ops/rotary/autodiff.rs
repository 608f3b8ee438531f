//! The backward pass of the rotary embedding: the rotation in the other direction. It keeps the table alone.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::{Direction, RotaryOps, RotaryPairs};
use crate::layers::ops::autodiff::{finish, register};

#[derive(Debug)]
struct Rotary;

impl<B: RotaryOps> Backward<B, 1> for Rotary {
    type State = (FloatTensor<B>, FloatTensor<B>, RotaryPairs, Direction);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (cos, sin, pairs, direction) = ops.state;
        let grad_x = B::glm_rotary(grad, cos, sin, pairs, direction.reversed());
        register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
    }
}

impl<B: RotaryOps, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn glm_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (cos.primitive, sin.primitive);
        let output = B::glm_rotary(x.primitive, cos.clone(), sin.clone(), pairs, direction);
        let state = (cos, sin, pairs, direction);
        finish!(Rotary, C, [x.node], state, output)
    }
}

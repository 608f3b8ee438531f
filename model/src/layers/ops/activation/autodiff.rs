//! The backward passes of the activations, which keep their input.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::ActivationOps;
use crate::layers::ops::autodiff::{finish, register};

/// A function of one tensor whose backward pass needs its input.
macro_rules! unary_backward {
    ($name:ident, $backward:ident) => {
        #[derive(Debug)]
        struct $name;

        impl<B: ActivationOps> Backward<B, 1> for $name {
            type State = FloatTensor<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let grad = grads.consume::<B>(&ops.node);
                let grad_x = B::$backward(ops.state, grad);
                register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
            }
        }
    };
}

unary_backward!(Swiglu, glm_swiglu_backward);
unary_backward!(GeluTanh, glm_gelu_tanh_backward);

impl<B: ActivationOps, C: CheckpointStrategy> ActivationOps for Autodiff<B, C> {
    fn glm_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::glm_swiglu(x.primitive.clone());
        finish!(Swiglu, C, [x.node], x.primitive, output)
    }

    fn glm_gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::glm_gelu_tanh(x.primitive.clone());
        finish!(GeluTanh, C, [x.node], x.primitive, output)
    }
}

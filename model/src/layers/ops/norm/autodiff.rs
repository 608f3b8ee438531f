//! The backward passes of the norms, which keep their input and their weight.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::NormOps;
use crate::layers::ops::autodiff::{finish, register, take_gradient};
use crate::layers::ops::residual::autodiff::ResidualSum;

#[derive(Debug)]
struct RmsNorm;

impl<B: NormOps> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        // That of the stream, where what came after the norm was added to it.
        let residual = take_gradient::<B, _, 2>(grads, &ops, 0, &ops.state.0);
        let (x, weight, epsilon) = ops.state;
        let [node_x, node_weight] = ops.parents.map(|node| node.map(|n| n.id));
        let wanted = node_weight.is_some();
        let (grad_x, grad_weight) =
            B::glm_rms_norm_backward(x, weight, epsilon, grad, residual, wanted);
        register::<B, 1>(grads, [node_x], [grad_x]);
        if let Some(grad_weight) = grad_weight {
            register::<B, 1>(grads, [node_weight], [grad_weight]);
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

impl<B: NormOps> Backward<B, 3> for LayerNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let [node_x, node_weight, node_bias] = ops.parents.map(|node| node.map(|n| n.id));
        let wanted = node_weight.is_some() || node_bias.is_some();
        let (grad_x, others) = B::glm_layer_norm_backward(x, weight, epsilon, grad, wanted);
        register::<B, 1>(grads, [node_x], [grad_x]);
        if let Some((grad_weight, grad_bias)) = others {
            register::<B, 2>(grads, [node_weight, node_bias], [grad_weight, grad_bias]);
        }
    }
}

impl<B: NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn glm_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let output = B::glm_rms_norm(x.primitive.clone(), weight.primitive.clone(), epsilon);
        let state = (x.primitive, weight.primitive, epsilon);
        finish!(RmsNorm, C, [x.node, weight.node], state, output)
    }

    fn glm_residual_rms_norm(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let of_weight = weight.primitive.clone();
        let (sum, output) = B::glm_residual_rms_norm(x.primitive, y.primitive, of_weight, epsilon);
        let state = (sum.clone(), weight.primitive, epsilon);
        let sum: FloatTensor<Self> = finish!(ResidualSum, C, [x.node, y.node], (), sum);
        let output = finish!(RmsNorm, C, [sum.node.clone(), weight.node], state, output);
        (sum, output)
    }

    fn glm_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let output = B::glm_layer_norm(
            x.primitive.clone(),
            weight.primitive.clone(),
            bias.primitive,
            epsilon,
        );
        let state = (x.primitive, weight.primitive, epsilon);
        finish!(
            LayerNorm,
            C,
            [x.node, weight.node, bias.node],
            state,
            output
        )
    }
}

//! The backward pass of a linear layer: a frozen weight costs neither a gradient nor the activation that only
//! its gradient would need.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::{LinearOps, gradient_of_bias};
use crate::layers::ops::autodiff::finish;

#[derive(Debug)]
struct Linear;

/// What the backward pass of a linear needs; absent where nobody asks for it.
#[derive(Debug, Clone)]
struct LinearState<B: LinearOps> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
}

impl<B: LinearOps> Backward<B, 2> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(x)) = (weight_node, ops.state.x) {
            grads.register::<B>(node.id, B::glm_linear_backward_weight(grad.clone(), x));
        }
        if let (Some(node), Some(weight)) = (x_node, ops.state.weight) {
            grads.register::<B>(node.id, B::glm_linear_backward_input(grad, weight));
        }
    }
}

#[derive(Debug)]
struct LinearBias;

impl<B: LinearOps> Backward<B, 3> for LinearBias {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = bias_node {
            grads.register::<B>(node.id, gradient_of_bias::<B>(grad.clone()));
        }
        if let (Some(node), Some(x)) = (weight_node, ops.state.x) {
            grads.register::<B>(node.id, B::glm_linear_backward_weight(grad.clone(), x));
        }
        if let (Some(node), Some(weight)) = (x_node, ops.state.weight) {
            grads.register::<B>(node.id, B::glm_linear_backward_input(grad, weight));
        }
    }
}

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn glm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        let output = B::glm_linear(
            x.primitive.clone(),
            weight.primitive.clone(),
            bias.as_ref().map(|bias| bias.primitive.clone()),
        );
        let state = LinearState::<B> {
            x: (!weight.node.requirement.is_none()).then_some(x.primitive),
            weight: (!x.node.requirement.is_none()).then_some(weight.primitive),
        };
        match bias {
            None => finish!(Linear, C, [x.node, weight.node], state, output),
            Some(bias) => finish!(
                LinearBias,
                C,
                [x.node, weight.node, bias.node],
                state,
                output
            ),
        }
    }
}

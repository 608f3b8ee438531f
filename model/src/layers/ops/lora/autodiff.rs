//! The backward pass of a linear layer with LoRA, which keeps the input itself and drops from it again.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use super::{LoraForward, LoraKept, LoraLayer, LoraOps};
use crate::layers::ops::autodiff::finish;
use crate::layers::ops::linear::gradient_of_bias;

#[derive(Debug)]
struct Lora;

#[derive(Debug)]
struct LoraBias;

/// What the backward pass needs; absent where nobody asks for it.
#[derive(Debug, Clone)]
struct State<B: LoraOps> {
    kept: LoraKept<B>,
    /// For the gradient of the weight.
    x: Option<FloatTensor<B>>,
}

/// The gradients of `x`, the weight and the factors.
fn backward<B: LoraOps>(
    state: State<B>,
    grad: FloatTensor<B>,
    [x, weight, a, b]: [Option<NodeId>; 4],
    grads: &mut Gradients,
) {
    let grad_weight = state
        .x
        .map(|x| B::glm_linear_backward_weight(grad.clone(), x));
    let found = B::glm_lora_backward(state.kept, grad);
    let all = [
        (x, found.x),
        (weight, grad_weight),
        (a, found.a),
        (b, found.b),
    ];
    for (node, grad) in all {
        if let (Some(node), Some(grad)) = (node, grad) {
            grads.register::<B>(node, grad);
        }
    }
}

impl<B: LoraOps> Backward<B, 4> for Lora {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        backward::<B>(ops.state, grad, nodes, grads);
    }
}

impl<B: LoraOps> Backward<B, 5> for LoraBias {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x, weight, a, b, bias] = ops.parents.map(|node| node.map(|node| node.id));
        if let Some(bias) = bias {
            grads.register::<B>(bias, gradient_of_bias::<B>(grad.clone()));
        }
        backward::<B>(ops.state, grad, [x, weight, a, b], grads);
    }
}

impl<B: LoraOps, C: CheckpointStrategy> LoraOps for Autodiff<B, C> {
    fn glm_lora(layer: LoraLayer<Self>) -> LoraForward<Self> {
        let is_tracked = |tensor: &FloatTensor<Self>| !tensor.node.requirement.is_none();
        let inner = LoraLayer::<B> {
            x: layer.x.primitive.clone(),
            weight: layer.weight.primitive.clone(),
            bias: layer.bias.as_ref().map(|bias| bias.primitive.clone()),
            a: layer.a.primitive.clone(),
            b: layer.b.primitive.clone(),
            scaling: layer.scaling,
            dropout: layer.dropout,
        };
        let LoraForward { output, low } = B::glm_lora(inner);
        let kept = LoraKept::<B> {
            x: is_tracked(&layer.a).then(|| layer.x.primitive.clone()),
            low: is_tracked(&layer.b).then(|| low.clone()),
            weight: is_tracked(&layer.x).then(|| layer.weight.primitive.clone()),
            a: layer.a.primitive,
            b: layer.b.primitive,
            scaling: layer.scaling,
            dropout: layer.dropout,
        };
        let x = is_tracked(&layer.weight).then_some(layer.x.primitive);
        let state = State { kept, x };
        let nodes = [layer.x.node, layer.weight.node, layer.a.node, layer.b.node];
        let output = match layer.bias {
            None => finish!(Lora, C, nodes, state, output),
            Some(bias) => {
                let [x, weight, a, b] = nodes;
                finish!(LoraBias, C, [x, weight, a, b, bias.node], state, output)
            }
        };
        // Only the backward pass reads it: it never carries a gradient.
        let low = <Self as AutodiffBackend>::from_inner(low);
        LoraForward { output, low }
    }
}

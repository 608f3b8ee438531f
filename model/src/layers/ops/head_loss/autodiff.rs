//! The backward pass of output layer and loss: the forward pass has computed the gradients.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::{FloatTensor, IntTensor};

use super::{HeadAdapter, HeadGradients, HeadLoss, HeadLossOps};
use crate::layers::ops::autodiff::finish;

#[derive(Debug)]
struct HeadLossBackward;

impl<B: HeadLossOps, const N: usize> Backward<B, N> for HeadLossBackward {
    /// The gradients, which the forward pass has computed.
    type State = [Option<FloatTensor<B>>; N];

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        for (node, value) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(node), Some(value)) = (node, value) {
                grads.register::<B>(node.id, B::glm_head_loss_backward(value, grad.clone()));
            }
        }
    }
}

impl<B: HeadLossOps, C: CheckpointStrategy> HeadLossOps for Autodiff<B, C> {
    fn glm_head_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        adapter: Option<HeadAdapter<Self>>,
        targets: IntTensor<Self>,
        wanted: HeadGradients,
    ) -> HeadLoss<Self> {
        // Who is tracked decides; the gradients themselves travel in the graph.
        let wanted = HeadGradients {
            hidden: !hidden.node.requirement.is_none(),
            weight: !weight.node.requirement.is_none(),
            adapter: adapter.as_ref().is_some_and(|adapter| {
                let factors = [&adapter.low.node, &adapter.up.node];
                factors.iter().any(|node| !node.requirement.is_none())
            }),
            scale: wanted.scale,
        };
        let nodes = adapter
            .as_ref()
            .map(|adapter| (adapter.low.node.clone(), adapter.up.node.clone()));
        let adapter = adapter.map(|adapter| HeadAdapter {
            low: adapter.low.primitive,
            up: adapter.up.primitive,
        });
        let result = B::glm_head_loss(hidden.primitive, weight.primitive, adapter, targets, wanted);
        let (grad_hidden, grad_weight) = (result.grad_hidden, result.grad_weight);
        let loss = match nodes {
            None => {
                let state = [grad_hidden, grad_weight];
                let nodes = [hidden.node, weight.node];
                finish!(HeadLossBackward, C, nodes, state, result.loss)
            }
            Some((low, up)) => {
                let (grad_low, grad_up) = match result.grad_adapter {
                    Some(adapter) => (Some(adapter.low), Some(adapter.up)),
                    None => (None, None),
                };
                let state = [grad_hidden, grad_weight, grad_low, grad_up];
                let nodes = [hidden.node, weight.node, low, up];
                finish!(HeadLossBackward, C, nodes, state, result.loss)
            }
        };
        HeadLoss {
            loss,
            grad_hidden: None,
            grad_weight: None,
            grad_adapter: None,
        }
    }
}

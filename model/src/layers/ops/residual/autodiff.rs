//! The backward pass of a residual sum, which keeps nothing.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::ResidualOps;
use crate::layers::ops::autodiff::{finish, register};

#[derive(Debug)]
pub(in crate::layers::ops) struct ResidualSum;

impl<B: ResidualOps> Backward<B, 2> for ResidualSum {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let nodes = ops.parents.map(|node| node.map(|n| n.id));
        register::<B, 2>(grads, nodes, [grad.clone(), grad]);
    }
}

impl<B: ResidualOps, C: CheckpointStrategy> ResidualOps for Autodiff<B, C> {
    fn glm_residual_sum(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::glm_residual_sum(x.primitive, y.primitive);
        finish!(ResidualSum, C, [x.node, y.node], (), output)
    }
}

//! The backward pass of parts. A slice's own would make a gradient as large as the whole for each of them, all of
//! zeros but for its part, and add them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata};

use super::PartsOps;
use crate::layers::ops::autodiff::finish;

/// A node between the whole and its parts. Its gradient has no other source than the parts, so that they may write to
/// it.
#[derive(Debug)]
struct Joint;

impl<B: PartsOps> Backward<B, 1> for Joint {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        if let [Some(whole)] = ops.parents {
            grads.register::<B>(whole.id, grad);
        }
    }
}

#[derive(Debug)]
struct Part;

#[derive(Debug, Clone)]
struct PartState {
    shape: Shape,
    axis: usize,
    start: usize,
    /// Whether another part has made the gradient of the whole.
    is_made: Arc<AtomicBool>,
}

impl<B: PartsOps> Backward<B, 1> for Part {
    type State = PartState;

    fn backward(self, ops: Ops<PartState, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [Some(joint)] = ops.parents else {
            return;
        };
        let PartState {
            shape,
            axis,
            start,
            is_made,
        } = ops.state;
        let whole = match is_made.swap(true, Ordering::Relaxed) {
            true => grads.consume::<B>(&joint),
            // Zeros: a part may have no gradient.
            false => B::float_zeros(shape, &B::float_device(&grad), grad.dtype().into()),
        };
        grads.register::<B>(joint.id, B::glm_parts_backward(whole, grad, axis, start));
    }
}

impl<B: PartsOps, C: CheckpointStrategy> PartsOps for Autodiff<B, C> {
    fn glm_parts<const N: usize>(
        x: FloatTensor<Self>,
        axis: usize,
        sizes: [usize; N],
    ) -> [FloatTensor<Self>; N] {
        let shape = x.primitive.shape();
        let parts = B::glm_parts(x.primitive.clone(), axis, sizes);
        let joint: FloatTensor<Self> = finish!(Joint, C, [x.node], (), x.primitive);
        let is_made = Arc::new(AtomicBool::new(false));
        let mut end = 0;
        parts.map(|part| {
            let start = end;
            end += part.shape()[axis];
            let state = PartState {
                shape: shape.clone(),
                axis,
                start,
                is_made: is_made.clone(),
            };
            finish!(Part, C, [joint.node.clone()], state, part)
        })
    }
}

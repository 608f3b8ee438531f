//! The backward pass of heads, which keeps the angles alone: gradients of queries, keys and values wait for each other,
//! and one operation makes that of the whole.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata};

use super::{HeadAngles, HeadCut, HeadsOps};
use crate::layers::ops::autodiff::finish;

/// The gradients that have come so far.
type Waiting<B> = Arc<Mutex<[Option<FloatTensor<B>>; 3]>>;

/// A node between the whole and its parts. Burn's walk comes to it when all parts that lead to the loss have been there.
#[derive(Debug)]
struct Joint;

#[derive(Debug, Clone)]
struct JointState<B: HeadsOps> {
    waiting: Waiting<B>,
    shape: Shape,
    cut: HeadCut,
    angles: HeadAngles<B>,
}

impl<B: HeadsOps> Backward<B, 1> for Joint {
    type State = JointState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let state = ops.state;
        let mut waiting = state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_parts = std::mem::take(&mut *waiting);
        drop(waiting);
        let whole = B::glm_heads_backward(of_parts, state.shape, state.cut, state.angles);
        if let ([Some(joint)], Some(whole)) = (ops.parents, whole) {
            grads.register::<B>(joint.id, whole);
        }
    }
}

#[derive(Debug)]
struct Part;

impl<B: HeadsOps> Backward<B, 1> for Part {
    type State = (Waiting<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (waiting, place) = ops.state;
        waiting.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(grad);
    }
}

impl<B: HeadsOps, C: CheckpointStrategy> HeadsOps for Autodiff<B, C> {
    fn glm_heads(
        joint: FloatTensor<Self>,
        cut: HeadCut,
        angles: HeadAngles<Self>,
    ) -> [FloatTensor<Self>; 3] {
        let angles = HeadAngles {
            cos: angles.cos.primitive,
            sin: angles.sin.primitive,
            pairs: angles.pairs,
        };
        let shape = joint.primitive.shape();
        let parts = B::glm_heads(joint.primitive.clone(), cut, angles.clone());
        let waiting = Waiting::<B>::default();
        let state = JointState {
            waiting: waiting.clone(),
            shape,
            cut,
            angles,
        };
        let joint: FloatTensor<Self> = finish!(Joint, C, [joint.node], state, joint.primitive);
        let mut place = 0..;
        parts.map(|part| {
            let state = (waiting.clone(), place.next().unwrap_or_default());
            finish!(Part, C, [joint.node.clone()], state, part)
        })
    }
}

//! Heads as parts of which two are turned.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorMetadata};

use super::{HeadAngles, HeadCut};
use crate::layers::ops::parts::PartsOps;
use crate::layers::ops::rotary::{Direction, RotaryOps};

/// See [`HeadsOps::glm_heads`](super::HeadsOps::glm_heads).
pub fn heads<B: PartsOps + RotaryOps>(
    joint: FloatTensor<B>,
    cut: HeadCut,
    angles: HeadAngles<B>,
) -> [FloatTensor<B>; 3] {
    let (axis, sizes) = cut.along(joint.shape()[3]);
    let [query, key, value] = B::glm_parts(joint, axis, sizes);
    let query = turn(query, &angles, Direction::Forward);
    [query, turn(key, &angles, Direction::Forward), value]
}

/// See [`HeadsOps::glm_heads_backward`](super::HeadsOps::glm_heads_backward).
pub fn heads_backward<B: PartsOps + RotaryOps>(
    [query, key, value]: [Option<FloatTensor<B>>; 3],
    shape: Shape,
    cut: HeadCut,
    angles: HeadAngles<B>,
) -> Option<FloatTensor<B>> {
    let back = |grad| turn(grad, &angles, Direction::Inverse);
    let key = key.map(back);
    let query = query.map(back);
    let (axis, sizes) = cut.along(shape[3]);
    let starts = [0, sizes[0], sizes[0] + sizes[1]];
    let mut whole = None;
    let grads = [(value, starts[2]), (key, starts[1]), (query, starts[0])];
    for (grad, start) in grads {
        let Some(grad) = grad else { continue };
        // Zeros: a part may have no gradient.
        let zeros = || B::float_zeros(shape.clone(), &B::float_device(&grad), grad.dtype().into());
        let so_far = whole.take().unwrap_or_else(zeros);
        whole = Some(B::glm_parts_backward(so_far, grad, axis, start));
    }
    whole
}

fn turn<B: RotaryOps>(
    x: FloatTensor<B>,
    angles: &HeadAngles<B>,
    direction: Direction,
) -> FloatTensor<B> {
    let (cos, sin) = (angles.cos.clone(), angles.sin.clone());
    B::glm_rotary(x, cos, sin, angles.pairs, direction)
}

//! Rotary embedding of Burn's operations.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::operands::{Direction, RotaryPairs};
use crate::layers::ops::primitive::{from_f32, to_f32, wrap};

/// See [`RotaryOps::glm_rotary`](super::RotaryOps::glm_rotary).
pub fn rotary<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    pairs: RotaryPairs,
    direction: Direction,
) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 4>(x);
    // [batch or 1, tokens, 1, pairs]
    let cos = wrap::<B, 3>(cos).unsqueeze_dim::<4>(2);
    let sin = wrap::<B, 3>(sin).unsqueeze_dim::<4>(2);
    let sin = match direction {
        Direction::Forward => sin,
        Direction::Inverse => sin.neg(),
    };
    let rotated = match pairs {
        RotaryPairs::Interleaved => rotate_interleaved(x, cos, sin),
        RotaryPairs::TwoHalves => rotate_two_halves(x, cos, sin),
    };
    from_f32(rotated, dtype)
}

/// Pairs `(2i, 2i+1)` of the first `2·pairs` dimensions; the rest passes.
fn rotate_interleaved<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
) -> Tensor<B, 4> {
    let [batch, tokens, heads, head_dim] = x.dims();
    let pairs = cos.dims()[3];
    let turned = x.clone().narrow(3, 0, 2 * pairs);
    let turned = turned.reshape([batch, tokens, heads, pairs, 2]);
    let first = turned.clone().narrow(4, 0, 1).squeeze_dim::<4>(4);
    let second = turned.narrow(4, 1, 1).squeeze_dim::<4>(4);
    let new_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let new_second = second * cos + first * sin;
    let turned = Tensor::stack::<5>(vec![new_first, new_second], 4);
    let turned = turned.reshape([batch, tokens, heads, 2 * pairs]);
    match head_dim - 2 * pairs {
        0 => turned,
        rest => Tensor::cat(vec![turned, x.narrow(3, 2 * pairs, rest)], 3),
    }
}

/// Each half of the head on its own: pairs `(i, i + head_dim/4)` within it.
fn rotate_two_halves<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
) -> Tensor<B, 4> {
    let quarter = x.dims()[3] / 4;
    let parts = (0..2).flat_map(|half| {
        let first = x.clone().narrow(3, 2 * half * quarter, quarter);
        let second = x.clone().narrow(3, (2 * half + 1) * quarter, quarter);
        let cos = cos.clone().narrow(3, half * quarter, quarter);
        let sin = sin.clone().narrow(3, half * quarter, quarter);
        [
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ]
    });
    Tensor::cat(parts.collect(), 3)
}

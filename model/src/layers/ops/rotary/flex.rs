//! Rotary embedding in one pass over the heads, whatever the strides of its input.

use burn::tensor::{Shape, TensorMetadata};
use burn_flex::Flex;

use super::{Direction, RotaryOps, RotaryPairs};
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::simd::simd;
use crate::layers::ops::flex::values::{Values, assume_written, filled, from_vec};

impl RotaryOps for Flex {
    fn glm_rotary(
        x: Float,
        cos: Float,
        sin: Float,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> Float {
        rotary(x, cos, sin, pairs, direction)
    }
}

/// See [`RotaryOps::glm_rotary`](super::RotaryOps::glm_rotary).
pub fn rotary(x: Float, cos: Float, sin: Float, pairs: RotaryPairs, direction: Direction) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let (tokens, heads, head_dim) = (shape[1], shape[2], shape[3]);
    let table = cos.shape();
    let (table_rows, count) = (table[0], table[2]);
    let (x, cos, sin) = (Values::of(x), Values::of(cos), Values::of(sin));
    let sign = match direction {
        Direction::Forward => 1.0,
        Direction::Inverse => -1.0,
    };
    let width = heads * head_dim;
    // SAFETY: a token's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), width, |token, out| {
            let row = if table_rows == 1 { 0 } else { token / tokens };
            let at = (row * tokens + token % tokens) * count;
            let (cos, sin) = (&cos[at..at + count], &sin[at..at + count]);
            let x = &x[token * width..][..width];
            rotate_heads(x, cos, sin, sign, pairs, head_dim, assume_written(out));
        })
    };
    from_vec(out, Shape::new([shape[0], tokens, heads, head_dim]), dtype)
}

simd! {
/// All heads of one token.
fn rotate_heads(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    sign: f32,
    pairs: RotaryPairs,
    head_dim: usize,
    out: &mut [f32],
) {
    for (out, x) in out.chunks_mut(head_dim).zip(x.chunks(head_dim)) {
        match pairs {
            RotaryPairs::Interleaved => interleaved(x, cos, sin, sign, out),
            RotaryPairs::TwoHalves => two_halves(x, cos, sin, sign, out),
        }
    }
}
}

#[inline(always)]
fn interleaved(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
    let turned = 2 * cos.len();
    for (i, (out, x)) in out
        .chunks_exact_mut(2)
        .zip(x.chunks_exact(2))
        .take(cos.len())
        .enumerate()
    {
        let sin = sign * sin[i];
        out[0] = x[0] * cos[i] - x[1] * sin;
        out[1] = x[1] * cos[i] + x[0] * sin;
    }
    out[turned..].copy_from_slice(&x[turned..]);
}

#[inline(always)]
fn two_halves(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [f32]) {
    let quarter = x.len() / 4;
    for half in 0..2 {
        let (cos, sin) = (&cos[half * quarter..], &sin[half * quarter..]);
        let (first, second) = (2 * half * quarter, (2 * half + 1) * quarter);
        for i in 0..quarter {
            let sin = sign * sin[i];
            out[first + i] = x[first + i] * cos[i] - x[second + i] * sin;
            out[second + i] = x[second + i] * cos[i] + x[first + i] * sin;
        }
    }
    out[4 * quarter..].fill(0.0);
}

//! Dropout in one pass; the mask is never stored.

use burn::tensor::TensorMetadata;
use burn_flex::Flex;

use super::mask::hash;
use super::{Dropout, DropoutOps};
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::simd::simd;
use crate::layers::ops::flex::values::{Values, assume_written, filled, from_vec};

impl DropoutOps for Flex {
    fn glm_dropout(x: Float, settings: Dropout) -> Float {
        dropout(x, settings)
    }
}

/// Elements that one task computes.
const CHUNK: usize = 1 << 14;

/// See [`DropoutOps::glm_dropout`](super::DropoutOps::glm_dropout).
pub fn dropout(x: Float, dropout: Dropout) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let x = Values::of(x);
    // SAFETY: a chunk's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), CHUNK, |index, out| {
            let x = &x[index * CHUNK..][..out.len()];
            drop_chunk(x, index * CHUNK, dropout, assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

simd! {
fn drop_chunk(x: &[f32], start: usize, dropout: Dropout, out: &mut [f32]) {
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    // A chunk never crosses a multiple of 2^32.
    let seed = dropout.seed ^ ((start as u64 >> 32) << 32);
    for (index, (out, &x)) in out.iter_mut().zip(x).enumerate() {
        let dropped = hash(start.wrapping_add(index) as u32, seed) < threshold;
        *out = if dropped { 0.0 } else { x * scale };
    }
}
}

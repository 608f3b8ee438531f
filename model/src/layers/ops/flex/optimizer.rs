//! AdamW and the norm of gradients: one pass over memory each.

use burn::tensor::{DType, Shape};
use burn_flex::Flex;
use rayon::prelude::*;

use super::Float;
use super::simd::{simd, sum};
use super::values::{Values, from_vec};
use crate::layers::ops::{AdamMoments, AdamStep, host_adamw};

/// Elements that one task computes. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

/// See [`GlmBackend::glm_sum_of_squares`](crate::layers::GlmBackend::glm_sum_of_squares).
pub fn sum_of_squares(x: Float) -> Float {
    let x = Values::of(x);
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(squares).collect();
    let total: f64 = sums.iter().sum();
    from_vec(vec![total as f32], Shape::new([1]), DType::F32)
}

simd! {
fn squares(values: &[f32]) -> f64 {
    f64::from(sum(values.len(), |i| values[i] * values[i]))
}
}

/// See [`GlmBackend::glm_adamw`](crate::layers::GlmBackend::glm_adamw).
pub fn adamw(
    weight: Float,
    grad: Float,
    moments: AdamMoments<Flex>,
    step: &AdamStep,
) -> (Float, AdamMoments<Flex>) {
    let grad = Values::of(grad);
    let owned = |tensor: Float| tensor.to_contiguous();
    let mut weight = owned(weight);
    let (mut first, mut second) = (owned(moments.first), owned(moments.second));
    // In place; a tensor that is shared is copied first.
    host_adamw(
        weight.storage_mut(),
        first.storage_mut(),
        second.storage_mut(),
        &grad,
        step,
    );
    (weight, AdamMoments { first, second })
}

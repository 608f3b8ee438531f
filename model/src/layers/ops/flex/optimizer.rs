//! AdamW and the norm of gradients: one pass over memory, in place.

use burn::tensor::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::Float;
use super::simd::{simd, sum};
use super::values::{Values, from_vec};
use crate::layers::ops::{AdamMoments, AdamStep};

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
    let coefficients = Coefficients::of(step);
    let grad = Values::of(grad);
    let owned = |tensor: Float| tensor.to_contiguous();
    let mut weight = owned(weight);
    let (mut first, mut second) = (owned(moments.first), owned(moments.second));
    let chunks = slice(&mut weight).par_chunks_mut(CHUNK);
    let chunks = chunks.zip(slice(&mut first).par_chunks_mut(CHUNK));
    let chunks = chunks.zip(slice(&mut second).par_chunks_mut(CHUNK));
    chunks
        .zip(grad.par_chunks(CHUNK))
        .for_each(|(((weight, first), second), grad)| {
            update(weight, first, second, grad, &coefficients);
        });
    (weight, AdamMoments { first, second })
}

/// The elements in place; a tensor that is shared is copied first.
fn slice(tensor: &mut FlexTensor) -> &mut [f32] {
    tensor.storage_mut()
}

/// What an element needs of the step.
struct Coefficients {
    grad_scale: f32,
    beta1: f32,
    beta2: f32,
    /// `lr / (1 - beta1^t)`.
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    root: f32,
    epsilon: f32,
    /// `1 - lr · weight_decay`.
    keep: f32,
}

impl Coefficients {
    fn of(step: &AdamStep) -> Self {
        let [correction1, correction2] = step.bias_corrections();
        Self {
            grad_scale: step.grad_scale as f32,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            rate: (step.lr / correction1) as f32,
            root: (1.0 / correction2.sqrt()) as f32,
            epsilon: step.epsilon as f32,
            keep: (1.0 - step.lr * step.weight_decay) as f32,
        }
    }
}

simd! {
fn update(
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    grad: &[f32],
    c: &Coefficients,
) {
    let len = weight.len();
    let (first, second, grad) = (&mut first[..len], &mut second[..len], &grad[..len]);
    for i in 0..len {
        let g = grad[i] * c.grad_scale;
        let m = c.beta1 * first[i] + (1.0 - c.beta1) * g;
        let v = c.beta2 * second[i] + (1.0 - c.beta2) * g * g;
        weight[i] = weight[i] * c.keep - c.rate * m / (v.sqrt() * c.root + c.epsilon);
        first[i] = m;
        second[i] = v;
    }
}
}

//! Norms, one pass per row.

use burn::tensor::{Shape, TensorMetadata};
use burn_flex::Flex;
use rayon::prelude::*;

use super::{NormOps, ROWS, default};
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::simd::{simd, sum};
use crate::layers::ops::flex::values::{Values, assume_written, filled, from_vec};

impl NormOps for Flex {
    fn glm_rms_norm(x: Float, weight: Float, epsilon: f64) -> Float {
        rms_norm(x, weight, epsilon)
    }

    fn glm_rms_norm_backward(
        x: Float,
        weight: Float,
        epsilon: f64,
        grad: Float,
        residual: Option<Float>,
        wants_weight: bool,
    ) -> (Float, Option<Float>) {
        // Its gradient comes along in the same pass.
        let (grad_x, grad_weight) = rms_norm_backward(x, weight, epsilon, grad);
        let grad_x = default::onto::<Self>(residual, grad_x);
        (grad_x, wants_weight.then_some(grad_weight))
    }

    fn glm_layer_norm(x: Float, weight: Float, bias: Float, epsilon: f64) -> Float {
        layer_norm(x, weight, bias, epsilon)
    }
}

/// See [`NormOps::glm_rms_norm`](super::NormOps::glm_rms_norm).
pub fn rms_norm(x: Float, weight: Float, epsilon: f64) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let width = shape[shape.num_dims() - 1];
    let (x, weight) = (Values::of(x), Values::of(weight));
    // SAFETY: a row's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), width, |row, out| {
            let x = &x[row * width..][..width];
            rms_norm_row(x, &weight, epsilon, assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

simd! {
fn rms_norm_row(x: &[f32], weight: &[f32], epsilon: f64, out: &mut [f32]) {
    let inverse = inverse_rms(x, epsilon);
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * inverse * weight;
    }
}
}

simd! {
fn rms_norm_backward_row(
    x: &[f32],
    weight: &[f32],
    epsilon: f64,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    let width = x.len();
    let (weight, grad) = (&weight[..width], &grad[..width]);
    let (grad_x, grad_weight) = (&mut grad_x[..width], &mut grad_weight[..width]);
    let inverse = inverse_rms(x, epsilon);
    let along = sum(width, |i| grad[i] * weight[i] * x[i]) * inverse / width as f32;
    for i in 0..width {
        let normalized = x[i] * inverse;
        grad_weight[i] += grad[i] * normalized;
        grad_x[i] = (grad[i] * weight[i] - normalized * along) * inverse;
    }
}
}

simd! {
fn layer_norm_row(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f64, out: &mut [f32]) {
    let width = x.len();
    let mean = sum(width, |i| x[i]) / width as f32;
    let variance = sum(width, |i| (x[i] - mean) * (x[i] - mean)) / width as f32;
    let inverse = 1.0 / (variance + epsilon as f32).sqrt();
    for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = (x - mean) * inverse * weight + bias;
    }
}
}

#[inline(always)]
fn inverse_rms(x: &[f32], epsilon: f64) -> f32 {
    let mean = sum(x.len(), |i| x[i] * x[i]) / x.len() as f32;
    1.0 / (mean + epsilon as f32).sqrt()
}

/// See [`NormOps::glm_rms_norm_backward`](super::NormOps::glm_rms_norm_backward).
pub fn rms_norm_backward(x: Float, weight: Float, epsilon: f64, grad: Float) -> (Float, Float) {
    let (shape, dtype, weight_dtype) = (x.shape(), x.dtype(), weight.dtype());
    let width = shape[shape.num_dims() - 1];
    let (x, weight, grad) = (Values::of(x), Values::of(weight), Values::of(grad));
    let mut grad_x = vec![0.0; x.len()];
    let block = (ROWS * width).max(1);
    let partial: Vec<Vec<f32>> = grad_x
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(grad.par_chunks(block))
        .map(|((grad_x, x), grad)| {
            let mut grad_weight = vec![0.0f32; width];
            let rows = grad_x
                .chunks_mut(width)
                .zip(x.chunks(width))
                .zip(grad.chunks(width));
            for ((grad_x, x), grad) in rows {
                rms_norm_backward_row(x, &weight, epsilon, grad, grad_x, &mut grad_weight);
            }
            grad_weight
        })
        .collect();
    // Summed in the order of the rows, so that the result does not depend on the threads.
    let mut grad_weight = vec![0.0; width];
    for part in partial {
        grad_weight
            .iter_mut()
            .zip(part)
            .for_each(|(sum, value)| *sum += value);
    }
    (
        from_vec(grad_x, shape, dtype),
        from_vec(grad_weight, Shape::new([width]), weight_dtype),
    )
}

/// See [`NormOps::glm_layer_norm`](super::NormOps::glm_layer_norm).
pub fn layer_norm(x: Float, weight: Float, bias: Float, epsilon: f64) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let width = shape[1];
    let (x, weight, bias) = (Values::of(x), Values::of(weight), Values::of(bias));
    // SAFETY: a row's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), width, |row, out| {
            let x = &x[row * width..][..width];
            layer_norm_row(x, &weight, &bias, epsilon, assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

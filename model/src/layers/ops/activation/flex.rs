//! Gated activation and GELU, one pass each.

use burn::tensor::{Shape, TensorMetadata};
use burn_flex::Flex;

use super::ActivationOps;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::simd::{sigmoid, simd, tanh};
use crate::layers::ops::flex::values::{Values, assume_written, filled, from_vec};

impl ActivationOps for Flex {
    fn glm_swiglu(x: Float) -> Float {
        swiglu(x)
    }

    fn glm_swiglu_backward(x: Float, grad: Float) -> Float {
        swiglu_backward(x, grad)
    }

    fn glm_gelu_tanh(x: Float) -> Float {
        gelu_tanh(x)
    }

    fn glm_gelu_tanh_backward(x: Float, grad: Float) -> Float {
        gelu_tanh_backward(x, grad)
    }
}

/// Elements that one task computes.
const CHUNK: usize = 1 << 13;
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// `silu(gate) · up`, `[rows, 2·width]` → `[rows, width]`.
pub fn swiglu(x: Float) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let width = shape[1] / 2;
    let x = Values::of(x);
    // SAFETY: a row's elements are all written and none read.
    let out = unsafe {
        filled(shape[0] * width, width, |row, out| {
            swiglu_row(&x[2 * width * row..][..2 * width], assume_written(out));
        })
    };
    from_vec(out, Shape::new([shape[0], width]), dtype)
}

simd! {
fn swiglu_row(x: &[f32], out: &mut [f32]) {
    let (gate, up) = x.split_at(out.len());
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = sigmoid(gate) * gate * up;
    }
}
}

/// Gradient of [`swiglu`].
pub fn swiglu_backward(x: Float, grad: Float) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let width = shape[1] / 2;
    let (x, grad) = (Values::of(x), Values::of(grad));
    // SAFETY: a row's elements are all written and none read.
    let out = unsafe {
        filled(shape[0] * 2 * width, 2 * width, |row, out| {
            let x = &x[2 * width * row..][..2 * width];
            let grad = &grad[width * row..][..width];
            swiglu_backward_row(x, grad, assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

simd! {
fn swiglu_backward_row(x: &[f32], grad: &[f32], out: &mut [f32]) {
    let width = grad.len();
    let (gate, up) = x.split_at(width);
    let (grad_gate, grad_up) = out.split_at_mut(width);
    let (gate, up, grad_up) = (&gate[..width], &up[..width], &mut grad_up[..width]);
    for i in 0..width {
        let sigmoid = sigmoid(gate[i]);
        let slope = sigmoid * (1.0 + gate[i] * (1.0 - sigmoid));
        grad_gate[i] = grad[i] * up[i] * slope;
        grad_up[i] = grad[i] * sigmoid * gate[i];
    }
}
}

/// `tanh(sqrt(2/π)·(x + 0.044715·x³))`.
#[inline(always)]
fn inner(x: f32) -> f32 {
    tanh(SQRT_2_OVER_PI * x * (1.0 + GELU_CUBIC * x * x))
}

/// GELU by the tanh formula.
pub fn gelu_tanh(x: Float) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let x = Values::of(x);
    // SAFETY: a chunk's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), CHUNK, |index, out| {
            gelu_chunk(&x[index * CHUNK..][..out.len()], assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

simd! {
fn gelu_chunk(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = 0.5 * x * (1.0 + inner(x));
    }
}
}

/// Gradient of [`gelu_tanh`].
pub fn gelu_tanh_backward(x: Float, grad: Float) -> Float {
    let (shape, dtype) = (x.shape(), x.dtype());
    let (x, grad) = (Values::of(x), Values::of(grad));
    // SAFETY: a chunk's elements are all written and none read.
    let out = unsafe {
        filled(x.len(), CHUNK, |index, out| {
            let range = index * CHUNK..index * CHUNK + out.len();
            gelu_backward_chunk(&x[range.clone()], &grad[range], assume_written(out));
        })
    };
    from_vec(out, shape, dtype)
}

simd! {
fn gelu_backward_chunk(x: &[f32], grad: &[f32], out: &mut [f32]) {
    for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
        let inner = inner(x);
        let argument_slope = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * x * x);
        let slope = 1.0 + inner + x * (1.0 - inner * inner) * argument_slope;
        *out = 0.5 * grad * slope;
    }
}
}

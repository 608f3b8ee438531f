//! Activations of Burn's operations.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::ops::primitive::{from_f32, to_f32};

/// sqrt(2/π), of the tanh formula of GELU.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of the tanh formula of GELU.
const GELU_CUBIC: f64 = 0.044_715;

/// The two halves of the last axis.
fn halves<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let width = x.dims()[1] / 2;
    (x.clone().narrow(1, 0, width), x.narrow(1, width, width))
}

/// See [`ActivationOps::glm_swiglu`](super::ActivationOps::glm_swiglu).
pub fn swiglu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (gate, up) = halves(x);
    from_f32(sigmoid(gate.clone()) * gate * up, dtype)
}

/// See [`ActivationOps::glm_swiglu_backward`](super::ActivationOps::glm_swiglu_backward).
pub fn swiglu_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (grad, _) = to_f32::<B, 2>(grad);
    let (gate, up) = halves(x);
    let sigmoid = sigmoid(gate.clone());
    let silu = sigmoid.clone() * gate.clone();
    // silu'(g) = σ(g)·(1 + g·(1 - σ(g)))
    let slope = sigmoid.clone() * (gate * (sigmoid.neg().add_scalar(1.0))).add_scalar(1.0);
    let grad_gate = grad.clone() * up * slope;
    let grad_up = grad * silu;
    from_f32(Tensor::cat(vec![grad_gate, grad_up], 1), dtype)
}

/// `tanh(sqrt(2/π)·(x + 0.044715·x³))`.
fn gelu_inner<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let cubic = (x.clone() * x.clone())
        .mul_scalar(GELU_CUBIC)
        .add_scalar(1.0);
    tanh((x * cubic).mul_scalar(SQRT_2_OVER_PI))
}

/// See [`ActivationOps::glm_gelu_tanh`](super::ActivationOps::glm_gelu_tanh).
pub fn gelu_tanh<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let inner = gelu_inner(x.clone()).add_scalar(1.0);
    from_f32((x * inner).mul_scalar(0.5), dtype)
}

/// See [`ActivationOps::glm_gelu_tanh_backward`](super::ActivationOps::glm_gelu_tanh_backward).
pub fn gelu_tanh_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (grad, _) = to_f32::<B, 2>(grad);
    let inner = gelu_inner(x.clone());
    let square = x.clone() * x.clone();
    let argument_slope = square
        .mul_scalar(3.0 * GELU_CUBIC)
        .add_scalar(1.0)
        .mul_scalar(SQRT_2_OVER_PI);
    let tanh_slope = (inner.clone() * inner.clone()).neg().add_scalar(1.0);
    let slope = inner.add_scalar(1.0) + x * tanh_slope * argument_slope;
    from_f32((grad * slope).mul_scalar(0.5), dtype)
}

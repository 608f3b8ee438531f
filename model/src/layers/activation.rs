//! The activations of the MLPs.

use burn::tensor::Tensor;

use super::ops::GlmBackend;
use super::ops::primitive::{unwrap, wrap};

/// `silu(gate) · up` of a fused projection `[gate | up]` (ChatGLM2 and later).
///
/// # Shapes
/// - `x`: `[batch, tokens, 2·width]`; result: `[batch, tokens, width]`
pub fn swiglu<B: GlmBackend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [batch, tokens, width] = x.dims();
    let rows: Tensor<B, 2> = x.reshape([batch * tokens, width]);
    wrap::<B, 2>(B::glm_swiglu(unwrap(rows))).reshape([batch, tokens, width / 2])
}

/// GELU by the tanh formula (ChatGLM-6B).
///
/// # Shapes
/// - `x` and result: `[batch, tokens, width]`
pub fn gelu_tanh<B: GlmBackend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [batch, tokens, width] = x.dims();
    let rows: Tensor<B, 2> = x.reshape([batch * tokens, width]);
    wrap::<B, 2>(B::glm_gelu_tanh(unwrap(rows))).reshape([batch, tokens, width])
}

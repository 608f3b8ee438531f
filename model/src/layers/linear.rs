//! Products with a weight.

use burn::tensor::Tensor;

use super::ops::GlmBackend;
use super::ops::primitive::{to_type, unwrap, wrap};

/// `x·weightᵀ + bias` in the type of `x`.
///
/// # Shapes
/// - `x`: `[rows, in]`, `weight`: `[out, in]`, `bias`: `[out]`; result: `[rows, out]`
pub fn linear<B: GlmBackend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 2> {
    // A product of mixed types is an error on some backends and garbage on others; a trained weight
    // is a float32 master under a compute type of 16 bits, and the cast passes its gradient.
    let dtype = x.dtype();
    let bias = bias.map(|bias| unwrap(to_type(bias, dtype)));
    wrap(B::glm_linear(
        unwrap(x),
        unwrap(to_type(weight, dtype)),
        bias,
    ))
}

//! A linear layer with the two factors of a LoRA adapter.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::GlmBackend;
use super::ops::dropout::Dropout;
use super::ops::lora::LoraLayer;
use super::ops::primitive::{to_type, unwrap, wrap};

/// What LoRA adds to a layer.
#[derive(Debug, Clone)]
pub struct LoraFactors<B: Backend> {
    /// A, `[rank, in]`.
    pub a: Tensor<B, 2>,
    /// B, `[out, rank]`.
    pub b: Tensor<B, 2>,
    /// What the product of the factors is multiplied with.
    pub scaling: f64,
    /// The dropout of the factors' input, in training.
    pub dropout: Option<Dropout>,
}

/// `x·weightᵀ + bias + scaling·(drop(x)·Aᵀ)·Bᵀ` in the type of `x`.
///
/// # Shapes
/// - `x`: `[rows, in]`, `weight`: `[out, in]`, `bias`: `[out]`; result: `[rows, out]`
pub fn lora<B: GlmBackend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    factors: LoraFactors<B>,
) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let layer = LoraLayer {
        x: unwrap(x),
        weight: unwrap(to_type(weight, dtype)),
        bias: bias.map(|bias| unwrap(to_type(bias, dtype))),
        // In their own type: their gradients are float32 where they are.
        a: unwrap(factors.a),
        b: unwrap(factors.b),
        scaling: factors.scaling,
        dropout: factors.dropout,
    };
    wrap(B::glm_lora(layer).output)
}

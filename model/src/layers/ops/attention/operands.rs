//! What attention is given, and what it returns.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::mask::AttentionMask;

/// What [`AttentionOps::glm_attention`](super::AttentionOps::glm_attention) returns.
#[derive(Debug, Clone)]
pub struct AttentionOutput<B: Backend> {
    /// Context, `[batch, queries, heads, head_dim]`, in the type of the queries.
    pub output: FloatTensor<B>,
    /// Logarithm of the sum of the exponentiated scores, `[batch, heads, queries]`, float32: with it
    /// the backward pass recomputes the probabilities instead of keeping them.
    pub log_sum_exp: FloatTensor<B>,
}

/// The operands of one attention, as the forward pass saw them.
#[derive(Debug, Clone)]
pub struct AttentionInput<B: Backend> {
    /// Queries, `[batch, queries, heads, head_dim]`.
    pub query: FloatTensor<B>,
    /// Keys, `[batch, keys, groups, head_dim]`; group `g` serves heads `g·heads/groups …`.
    pub key: FloatTensor<B>,
    /// Values, `[batch, keys, groups, head_dim]`.
    pub value: FloatTensor<B>,
    /// Which keys each query sees.
    pub mask: AttentionMask<B>,
    /// Scale of the scores.
    pub scale: AttentionScale,
}

/// How scores are scaled: `post · mask(pre · q·kᵀ)`.
///
/// ChatGLM-6B divides by the layer's number before the product, which keeps half precision in range,
/// and multiplies it back in float32 before the softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionScale {
    /// Applied to the queries before the product.
    pub pre: f64,
    /// Applied to the scores in float32.
    pub post: f64,
}

impl AttentionScale {
    /// `1/sqrt(head_dim)`, with `layer_coefficient` divided out before and multiplied back after.
    pub fn new(head_dim: usize, layer_coefficient: f64) -> Self {
        Self {
            pre: 1.0 / ((head_dim as f64).sqrt() * layer_coefficient),
            post: layer_coefficient,
        }
    }

    /// Both factors together.
    pub fn total(&self) -> f64 {
        self.pre * self.post
    }
}

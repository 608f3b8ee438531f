//! Softmax attention over keys and values that may be shared by groups of heads.

use burn::tensor::Tensor;

use super::mask::AttentionMask;
use super::ops::GlmBackend;
use super::ops::attention::{AttentionInput, AttentionScale};
use super::ops::primitive::{unwrap, wrap};

/// `softmax(scale · q·kᵀ + mask) · v`, the softmax in float32.
///
/// # Shapes
/// - `query`: `[batch, queries, heads, head_dim]`
/// - `key`, `value`: `[batch, keys, groups, head_dim]`; group `g` serves heads
///   `g·heads/groups … (g+1)·heads/groups`
/// - result: `[batch, queries, heads · head_dim]`
pub fn attention<B: GlmBackend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: &AttentionMask<B>,
    scale: AttentionScale,
) -> Tensor<B, 3> {
    let [batch, queries, heads, head_dim] = query.dims();
    let output = B::glm_attention(AttentionInput {
        query: unwrap(query),
        key: unwrap(key),
        value: unwrap(value),
        mask: mask.clone(),
        scale,
    });
    wrap::<B, 4>(output.output).reshape([batch, queries, heads * head_dim])
}

//! Softmax attention with grouped key/value heads, the softmax in float32.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;
#[cfg(feature = "flex")]
mod one_query;
mod operands;
mod sizes;

pub use operands::{AttentionInput, AttentionOutput, AttentionScale};

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Softmax attention.
pub trait AttentionOps: Backend {
    /// Softmax attention with grouped key/value heads.
    ///
    /// # Shapes
    /// - those of [`AttentionInput`] and [`AttentionOutput`]
    fn glm_attention(input: AttentionInput<Self>) -> AttentionOutput<Self> {
        default::attention::<Self>(input)
    }

    /// Gradients of [`glm_attention`](Self::glm_attention): of queries, keys and values.
    ///
    /// # Shapes
    /// - `grad` and the gradient of the queries: `[batch, queries, heads, head_dim]`
    /// - gradients of keys and values: `[batch, keys, groups, head_dim]`
    fn glm_attention_backward(
        input: AttentionInput<Self>,
        output: AttentionOutput<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        default::attention_backward::<Self>(input, output, grad)
    }
}

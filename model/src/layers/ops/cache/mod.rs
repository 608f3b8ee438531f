//! Keys and values of new tokens into a buffer that has room for them.

mod autodiff;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// The cache of keys and values.
pub trait CacheOps: Backend {
    /// Writes tokens into a buffer from token `start` on: in place where nobody else holds the buffer.
    ///
    /// # Shapes
    /// - `buffer` and result: `[batch, room, groups, head_dim]`
    /// - `new`: `[batch, tokens, groups, head_dim]`, with `start + tokens ≤ room`
    fn glm_cache_write(
        buffer: FloatTensor<Self>,
        new: FloatTensor<Self>,
        start: usize,
    ) -> FloatTensor<Self> {
        default::write::<Self>(buffer, new, start)
    }
}

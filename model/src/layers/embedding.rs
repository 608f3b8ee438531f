//! Word embeddings.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use super::ops::primitive::to_type;
use super::uninitialized;

/// A table of vectors, one per token.
#[derive(Module, Debug)]
pub struct Embedding<B: Backend> {
    /// `[vocabulary, width]`.
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    /// A table whose values are yet to be loaded.
    pub fn uninitialized(rows: usize, width: usize, dtype: DType, device: &B::Device) -> Self {
        Self {
            weight: uninitialized([rows, width], dtype, device),
        }
    }

    /// The vectors of some tokens, in the given type.
    ///
    /// # Shapes
    /// - `ids`: `[batch, tokens]`, each below the number of rows
    /// - result: `[batch, tokens, width]`
    pub fn forward(&self, ids: Tensor<B, 2, Int>, dtype: DType) -> Tensor<B, 3> {
        to_type(
            burn::tensor::module::embedding(self.weight.val(), ids),
            dtype,
        )
    }
}

//! What an adapter of a linear layer sees of the layer, and what it makes of it.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::layers::{GlmBackend, linear};

/// A linear layer and its input, as its adapter sees them.
#[derive(Debug, Clone)]
pub struct LinearCall<B: Backend> {
    /// `[rows, in]`.
    pub input: Tensor<B, 2>,
    /// `[out, in]`.
    pub weight: Tensor<B, 2>,
    /// `[out]`.
    pub bias: Option<Tensor<B, 1>>,
    /// In training, what the masks of the adapter's dropout are computed from.
    pub dropout_seed: Option<u64>,
}

impl<B: GlmBackend> LinearCall<B> {
    /// The output of the layer without its adapter, `[rows, out]`.
    pub fn output(self) -> Tensor<B, 2> {
        linear(self.input, self.weight, self.bias)
    }
}

/// An output layer with its adapter: its logits are `hidden · weightᵀ`, plus `low · upᵀ` where there are
/// factors.
#[derive(Debug, Clone)]
pub struct HeadOperands<B: Backend> {
    /// `[rows, in]`.
    pub hidden: Tensor<B, 2>,
    /// `[vocabulary, in]`.
    pub weight: Tensor<B, 2>,
    /// `[rows, rank]` and `[vocabulary, rank]`.
    pub factors: Option<(Tensor<B, 2>, Tensor<B, 2>)>,
}

/// An adapter of a linear layer.
pub trait ProjectionAdapter<B: GlmBackend> {
    /// The output of the layer with the adapter.
    ///
    /// # Shapes
    /// - result: `[rows, out]`
    fn forward(&self, call: LinearCall<B>) -> Tensor<B, 2>;

    /// The output of the layer with the adapter, by what the layer gives without it; nothing is dropped.
    ///
    /// # Shapes
    /// - `input`: `[rows, in]`; `output` and result: `[rows, out]`
    fn add_to(&self, input: Tensor<B, 2>, output: Tensor<B, 2>) -> Tensor<B, 2>;

    /// The layer as an output layer without a bias, whose logits are computed a few rows at a time.
    fn head_operands(&self, call: LinearCall<B>) -> HeadOperands<B>;
}

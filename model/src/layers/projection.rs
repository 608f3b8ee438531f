//! A linear layer that may carry a LoRA adapter.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::linear::linear;
use super::ops::GlmBackend;
use super::uninitialized;
use crate::peft::Lora;

/// `x·Wᵀ + b`, plus `scaling · (x·Aᵀ)·Bᵀ` where a LoRA is attached.
///
/// The base weight keeps its own key and its published orientation, so that base checkpoints load
/// unchanged with and without an adapter. The path of the adapter stays factored: no dense product of
/// its factors is ever made.
#[derive(Module, Debug)]
pub struct Projection<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// The low-rank adapter, if one is attached.
    pub lora: Option<Lora<B>>,
}

impl<B: Backend> Projection<B> {
    /// A projection whose weights are yet to be loaded.
    pub fn uninitialized(
        [input, output]: [usize; 2],
        bias: bool,
        dtype: DType,
        device: &B::Device,
    ) -> Self {
        Self {
            weight: uninitialized([output, input], dtype, device),
            bias: bias.then(|| uninitialized([output], dtype, device)),
            lora: None,
        }
    }

    /// Width of the input and of the output.
    pub fn dims(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[1], shape[0]]
    }
}

impl<B: GlmBackend> Projection<B> {
    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens, in]`
    /// - result: `[batch, tokens, out]`, in the type of `x`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.forward_with_dropout(x, None)
    }

    /// As [`forward`](Self::forward); with a seed, the adapter's input goes through its dropout.
    pub fn forward_with_dropout(&self, x: Tensor<B, 3>, seed: Option<u64>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let rows = x.reshape([batch * tokens, width]);
        let base = linear(
            rows.clone(),
            self.weight.val(),
            self.bias.as_ref().map(|bias| bias.val()),
        );
        let output = match &self.lora {
            Some(lora) => base + lora.forward(rows, seed),
            None => base,
        };
        let out = output.dims()[1];
        output.reshape([batch, tokens, out])
    }
}

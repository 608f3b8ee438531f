//! Low-rank adaptation of a linear layer (Hu et al. 2021).

#![allow(non_snake_case)] // the factors carry PEFT's names, as every parameter carries that of its file

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::layers::GlmBackend;
use crate::layers::projection::linear;

/// One of the two factors, under the name that PEFT gives it.
#[derive(Module, Debug)]
pub struct LoraFactor<B: Backend> {
    /// `[rank, in]` for A, `[out, rank]` for B.
    pub weight: Param<Tensor<B, 2>>,
}

/// `scaling · (x·Aᵀ)·Bᵀ`.
#[derive(Module, Debug)]
pub struct Lora<B: Backend> {
    /// `[rank, in]`.
    pub lora_A: LoraFactor<B>,
    /// `[out, rank]`.
    pub lora_B: LoraFactor<B>,
    /// `alpha / rank`, or `alpha / sqrt(rank)` where the adapter was stabilised.
    pub scaling: f64,
}

impl<B: Backend> Lora<B> {
    /// An adapter of the given factors.
    pub fn new(a: Tensor<B, 2>, b: Tensor<B, 2>, scaling: f64) -> Self {
        Self {
            lora_A: LoraFactor {
                weight: Param::from_tensor(a).set_require_grad(false),
            },
            lora_B: LoraFactor {
                weight: Param::from_tensor(b).set_require_grad(false),
            },
            scaling,
        }
    }

    /// The sum of two adapters of one layer, as one adapter of the summed rank:
    /// `s₁·B₁A₁ + s₂·B₂A₂ = s₁·[B₁ | (s₂/s₁)·B₂]·[A₁; A₂]`.
    pub fn plus(self, other: Self) -> Self {
        let ratio = other.scaling / self.scaling;
        let a = vec![self.lora_A.weight.val(), other.lora_A.weight.val()];
        let b = vec![
            self.lora_B.weight.val(),
            other.lora_B.weight.val().mul_scalar(ratio),
        ];
        Self::new(Tensor::cat(a, 0), Tensor::cat(b, 1), self.scaling)
    }
}

impl<B: GlmBackend> Lora<B> {
    /// What the adapter adds to the layer's output.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`; result: `[rows, out]`
    pub fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let low = linear(x, self.lora_A.weight.val(), None);
        linear(low, self.lora_B.weight.val(), None).mul_scalar(self.scaling)
    }
}

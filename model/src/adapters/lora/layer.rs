//! Low-rank adaptation of a linear layer (Hu et al. 2021).

#![allow(non_snake_case)] // the factors carry PEFT's names, as every parameter carries that of its file

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::super::linear_call::{HeadOperands, LinearCall, ProjectionAdapter};
use super::settings::LoraSettings;
use crate::layers::{self, Dropout, GlmBackend, LoraFactors, linear, lora};
use crate::random_weights::uniform;

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
    /// Share of the input's elements that training drops.
    pub dropout: f64,
}

impl<B: Backend> Lora<B> {
    /// A new adapter of a layer from `input` to `output` as PEFT initialises it: A by Kaiming's rule with `a = sqrt(5)`, which is uniform in
    /// `±1/sqrt(in)`, and B zero, so that the model is unchanged. Factors are float32.
    pub fn initialized(
        [input, output]: [usize; 2],
        settings: &LoraSettings,
        seed: u64,
        device: &B::Device,
    ) -> Self {
        let bound = 1.0 / (input as f32).sqrt();
        let a = TensorData::new(
            uniform(settings.rank * input, bound, seed),
            [settings.rank, input],
        );
        let a = Tensor::from_data(a, (device, DType::F32));
        let b = Tensor::zeros([output, settings.rank], (device, DType::F32));
        let scaling = settings.alpha / settings.rank as f64;
        Self {
            dropout: settings.dropout,
            ..Self::new(a, b, scaling)
        }
    }

    /// An adapter of the given factors, without dropout.
    pub fn new(a: Tensor<B, 2>, b: Tensor<B, 2>, scaling: f64) -> Self {
        Self {
            lora_A: LoraFactor {
                weight: Param::from_tensor(a).set_require_grad(false),
            },
            lora_B: LoraFactor {
                weight: Param::from_tensor(b).set_require_grad(false),
            },
            scaling,
            dropout: 0.0,
        }
    }

    /// Rank of the factors.
    pub fn rank(&self) -> usize {
        self.lora_A.weight.lazy_shape()[0]
    }

    /// The sum of two adapters of one layer, as one adapter of the summed rank:
    /// `s₁·B₁A₁ + s₂·B₂A₂ = [s₁·B₁ | s₂·B₂]·[A₁; A₂]`.
    pub fn plus(self, other: Self) -> Self {
        let a = vec![self.lora_A.weight.val(), other.lora_A.weight.val()];
        let b = vec![
            self.lora_B.weight.val().mul_scalar(self.scaling),
            other.lora_B.weight.val().mul_scalar(other.scaling),
        ];
        Self::new(Tensor::cat(a, 0), Tensor::cat(b, 1), 1.0)
    }
}

impl<B: GlmBackend> ProjectionAdapter<B> for Lora<B> {
    fn forward(&self, call: LinearCall<B>) -> Tensor<B, 2> {
        let factors = LoraFactors {
            a: self.lora_A.weight.val(),
            b: self.lora_B.weight.val(),
            scaling: self.scaling,
            dropout: self.input_dropout(call.dropout_seed),
        };
        lora(call.input, call.weight, call.bias, factors)
    }

    fn add_to(&self, input: Tensor<B, 2>, output: Tensor<B, 2>) -> Tensor<B, 2> {
        let low = self.low(input, None).mul_scalar(self.scaling);
        output + linear(low, self.lora_B.weight.val(), None)
    }

    fn head_operands(&self, call: LinearCall<B>) -> HeadOperands<B> {
        let low = self.low(call.input.clone(), call.dropout_seed);
        HeadOperands {
            hidden: call.input,
            weight: call.weight,
            factors: Some((low.mul_scalar(self.scaling), self.lora_B.weight.val())),
        }
    }
}

impl<B: GlmBackend> Lora<B> {
    /// The input, less what dropout takes, times A; neither scaled nor times B.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`; result: `[rows, rank]`
    fn low(&self, x: Tensor<B, 2>, dropout_seed: Option<u64>) -> Tensor<B, 2> {
        let x = match self.input_dropout(dropout_seed) {
            Some(dropout) => layers::dropout(x, dropout),
            None => x,
        };
        linear(x, self.lora_A.weight.val(), None)
    }

    /// What takes elements from the input, in training.
    fn input_dropout(&self, seed: Option<u64>) -> Option<Dropout> {
        let rate = self.dropout;
        seed.filter(|_| rate > 0.0)
            .map(|seed| Dropout { rate, seed })
    }
}

//! A linear layer with LoRA's two factors (Hu et al. 2021), as one operation: its output is read and written once,
//! and no masked copy of the input is kept.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;
mod operands;

pub use operands::{LoraForward, LoraGradients, LoraKept, LoraLayer};

use burn::tensor::ops::FloatTensor;

use super::dropout::DropoutOps;
use super::linear::LinearOps;
use super::residual::ResidualOps;

/// Linear layers with LoRA.
pub trait LoraOps: LinearOps + DropoutOps + ResidualOps {
    /// `x·Wᵀ + bias + scaling·(drop(x)·Aᵀ)·Bᵀ`.
    ///
    /// # Shapes
    /// - those of [`LoraLayer`] and [`LoraForward`]
    fn glm_lora(layer: LoraLayer<Self>) -> LoraForward<Self> {
        default::lora::<Self>(layer)
    }

    /// Gradients of [`glm_lora`](Self::glm_lora) with respect to `x` and the factors: each that what was kept
    /// suffices for.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`
    fn glm_lora_backward(kept: LoraKept<Self>, grad: FloatTensor<Self>) -> LoraGradients<Self> {
        default::lora_backward::<Self>(kept, grad)
    }
}

//! The operations of an update that decide its speed, behind an extension of the model's backend: a default
//! made of Burn's own, and a file for each backend that has a faster one.

mod adam_step;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
mod host_adamw;

pub use adam_step::{AdamMoments, AdamStep};

pub use host_adamw::host_adamw;

use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;

/// A backend that the model computes on, extended by what an update needs.
pub trait TrainingBackend: GlmBackend {
    /// Sum of the squares of all elements, `[1]`, float32.
    ///
    /// # Shapes
    /// - `x`: of any rank
    fn glm_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::sum_of_squares::<Self>(x)
    }

    /// One update of AdamW: the weight (float32) and the moments after it.
    ///
    /// # Shapes
    /// - `weight`, `grad`, moments and results: of any rank, all of one shape
    fn glm_adamw(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moments: AdamMoments<Self>,
        step: &AdamStep,
    ) -> (FloatTensor<Self>, AdamMoments<Self>) {
        default::adamw::<Self>(weight, grad, moments, step)
    }

    /// Bytes of a device's memory that are in use; `None` where it is the process's own.
    fn glm_memory_in_use(_device: &Self::Device) -> Option<u64> {
        None
    }
}

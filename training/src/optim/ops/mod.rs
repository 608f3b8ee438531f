//! The operations of an update that decide its speed, behind an extension of the model's backend: a default
//! made of Burn's own, and a file for each backend that has a faster one.

mod adam_step;
mod coefficients;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
mod host_adamw;

pub use adam_step::{AdamMoments, AdamParameter, AdamStep};

pub use host_adamw::host_adamw;

use burn::tensor::ops::FloatTensor;

use crate::parallel::devices::ops::CollectiveOps;

/// A backend that the model computes on, extended by what an update needs, and by what several devices do together.
pub trait TrainingBackend: CollectiveOps {
    /// Sums of squares of parts of some tensors of one device, float32: added up, they are the sum over all elements.
    /// There is at least one tensor.
    ///
    /// # Shapes
    /// - `tensors`: of any rank; result: `[parts]`
    fn glm_squares(tensors: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        default::squares::<Self>(tensors)
    }

    /// One update of AdamW: parameters of one device after it, each given with its gradient.
    ///
    /// # Shapes
    /// - a parameter and its gradient: of any rank, both of one shape
    fn glm_adamw(
        parameters: Vec<(AdamParameter<Self>, FloatTensor<Self>)>,
        step: &AdamStep,
    ) -> Vec<AdamParameter<Self>> {
        default::adamw::<Self>(parameters, step)
    }

    /// Bytes of a device's memory that are in use; `None` where it is the process's own.
    fn glm_memory_in_use(_device: &Self::Device) -> Option<u64> {
        None
    }
}

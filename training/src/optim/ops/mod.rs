//! The operations of an update that decide its speed, behind an extension of the model's backend: a default
//! made of Burn's own, and a file for each backend that has a faster one.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
mod host_adamw;

pub use host_adamw::host_adamw;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;

/// The running means of AdamW for one parameter, float32, of its shape.
#[derive(Debug, Clone)]
pub struct AdamMoments<B: Backend> {
    /// Of the gradient (`exp_avg`).
    pub first: FloatTensor<B>,
    /// Of its square (`exp_avg_sq`).
    pub second: FloatTensor<B>,
}

/// The numbers of one AdamW update (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of the update, from 1.
    pub step: i32,
    /// What the gradient is multiplied with first: averaging and clipping in one.
    pub grad_scale: f64,
}

impl AdamStep {
    /// `1 - beta1^step` and `1 - beta2^step`.
    pub fn bias_corrections(&self) -> [f64; 2] {
        [self.beta1, self.beta2].map(|beta| 1.0 - beta.powi(self.step))
    }
}

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

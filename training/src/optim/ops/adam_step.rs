//! What an update of AdamW is given.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// The running means of AdamW for one parameter, float32, of its shape.
#[derive(Debug, Clone)]
pub struct AdamMoments<B: Backend> {
    /// Of the gradient (`exp_avg`).
    pub first: FloatTensor<B>,
    /// Of its square (`exp_avg_sq`).
    pub second: FloatTensor<B>,
}

/// A parameter as AdamW changes it.
#[derive(Debug, Clone)]
pub struct AdamParameter<B: Backend> {
    /// Float32.
    pub weight: FloatTensor<B>,
    /// Of the shape of the weight.
    pub moments: AdamMoments<B>,
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

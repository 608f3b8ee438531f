//! Optimizers: how a gradient changes a weight.
//!
//! A new one is a file beside `adamw.rs` that implements [`Optimizer`]; its state is keyed by the paths
//! of parameters, so that a checkpoint names what it holds.

mod adamw;

pub use adamw::{AdamW, AdamWSettings};

use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;

use crate::error::Result;

/// What all parameters share in one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub lr: f64,
    /// Number of the update, from 1.
    pub number: u64,
    /// What the gradients are multiplied with first: averaging and clipping in one.
    pub grad_scale: f64,
}

/// A rule that turns gradients into updates, and the state that it keeps for each parameter.
pub trait Optimizer<B: GlmBackend>: Send {
    /// The weight after an update. Weight and gradient are float32 and of one shape.
    fn update(
        &mut self,
        path: &str,
        weight: FloatTensor<B>,
        grad: FloatTensor<B>,
        update: Update,
    ) -> FloatTensor<B>;

    /// The state: tensors named `<quantity>.<path of the parameter>`.
    fn state(&self) -> Vec<(String, FloatTensor<B>)>;

    /// Takes up a state that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If it is not the state of this optimizer.
    fn restore(&mut self, state: Vec<(String, FloatTensor<B>)>) -> Result<()>;
}

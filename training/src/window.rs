//! The micro-batches of one optimizer step, on one device or on several.

use burn::backend::Autodiff;
use glmtune_model::{CausalLm, GlmBackend};

use crate::backward::GradientBoundary;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::optim::ops::TrainingBackend;
use crate::parallel::devices::data::{GradientPass, replicated};
use crate::parallel::devices::replicas::Replicas;
use crate::parallel::pipeline::{Stages, pipeline};
use crate::parallel::{WindowItem, WindowSum};

/// How a window is computed.
#[derive(Debug, Clone)]
pub struct WindowPlan<'a, B: GlmBackend> {
    /// How each device computes.
    pub pass: GradientPass,
    /// The devices; the model is on the first.
    pub devices: &'a [B::Device],
    /// The model on the others.
    pub replicas: &'a Replicas<B>,
    /// The stages of a pipeline, in place of replicas.
    pub stages: Option<&'a Stages<B>>,
    /// What the backward pass must reach.
    pub boundary: GradientBoundary,
}

/// Walks all micro-batches of a window and adds up losses and gradients. Gives the gradients once more on each other
/// device that [updates](Replicas::update) its own weights.
///
/// # Errors
/// As [`loss_and_gradients`](crate::backward::loss_and_gradients).
pub fn window<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    plan: &WindowPlan<'_, B>,
) -> Result<(WindowSum<B>, Vec<Gradients<B>>)> {
    let alone = |sum| (sum, Vec::new());
    match (plan.stages, plan.devices) {
        (Some(stages), _) => pipeline(model, items, stages, plan.boundary, plan.pass).map(alone),
        (None, [] | [_]) => plan.pass.run(model, items.iter()).map(alone),
        (None, devices) => replicated(model, items, plan.pass, devices, plan.replicas),
    }
}

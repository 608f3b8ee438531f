//! The micro-batches of one optimizer step, on one device or on several.

use burn::backend::Autodiff;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, GlmBackend};

use crate::backward::GradientBoundary;
use crate::error::Result;
use crate::parallel::data::{GradientPass, replicas};
use crate::parallel::pipeline::{Stages, pipeline};
use crate::parallel::{WindowItem, WindowSum};

/// How a window is computed.
#[derive(Debug, Clone)]
pub struct WindowPlan<'a, B: GlmBackend> {
    /// How each device computes.
    pub pass: GradientPass,
    /// The devices of the replicas; the model is on the first.
    pub devices: &'a [B::Device],
    /// The stages of a pipeline, in place of replicas.
    pub stages: Option<&'a Stages<B>>,
    /// What the backward pass must reach.
    pub boundary: GradientBoundary,
    /// The weights that live in the host's memory.
    pub host: &'a HostWeights,
}

/// Walks all micro-batches of a window and adds up losses and gradients.
///
/// # Errors
/// As [`loss_and_gradients`](crate::backward::loss_and_gradients).
pub fn window<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    plan: &WindowPlan<'_, B>,
) -> Result<WindowSum<B>> {
    match (plan.stages, plan.devices) {
        (Some(stages), _) => pipeline(model, items, stages, plan.boundary, plan.pass),
        (None, [] | [_]) => plan.pass.run(model, items.iter()),
        (None, devices) => replicas(model, items, plan.pass, devices, plan.host),
    }
}

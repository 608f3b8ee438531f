//! The micro-batches of one optimizer step, on one device or shared out to replicas on several.
//!
//! Replicas are data parallel: each takes every n-th micro-batch and adds up its gradients, and the sums
//! meet on the first device, or in the host's memory where the optimizer wants them there. The result is
//! that of one device with as many micro-batches.

use std::thread;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use glmtune_model::layers::DropoutSource;
use glmtune_model::{CausalLm, GlmBackend};

use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::walk::pipeline::{Stages, pipeline};
use crate::walk::{BackwardReach, MicroBatch, Walk, loss_and_gradients};

/// A micro-batch and the masks of its dropout.
#[derive(Debug, Clone)]
pub struct WindowItem {
    /// The rows.
    pub batch: MicroBatch,
    /// Where the masks come from.
    pub dropout: DropoutSource,
}

/// How a window is computed.
#[derive(Debug, Clone)]
pub struct WindowPlan<'a, B: GlmBackend> {
    /// How the chain of segments is walked.
    pub walk: Walk,
    /// What the loss is multiplied with before the backward pass.
    pub scale: f64,
    /// Whether gradients leave the device as soon as they exist.
    pub to_host: bool,
    /// The devices of the replicas; the model is on the first.
    pub devices: &'a [B::Device],
    /// The stages of a pipeline, in place of replicas.
    pub stages: Option<&'a Stages<B>>,
    /// What the backward pass must reach.
    pub reach: BackwardReach,
}

/// What a window gives.
#[derive(Debug)]
pub struct WindowSum<B: GlmBackend> {
    /// Sum of the micro-batches' losses.
    pub loss: f64,
    /// Sum of their gradients.
    pub gradients: Gradients<B>,
}

/// Walks all micro-batches of a window and adds up losses and gradients.
///
/// # Errors
/// As [`loss_and_gradients`].
pub fn window<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    plan: &WindowPlan<'_, B>,
) -> Result<WindowSum<B>> {
    match (plan.stages, plan.devices) {
        (Some(stages), _) => pipeline(model, items, stages, plan.reach, plan.scale, plan.to_host),
        (None, [] | [_]) => share(model, items.iter(), plan),
        (None, devices) => replicas(model, items, plan, devices),
    }
}

/// The micro-batches of one device, one after the other.
fn share<'a, B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: impl Iterator<Item = &'a WindowItem>,
    plan: &WindowPlan<'_, B>,
) -> Result<WindowSum<B>> {
    let (mut loss, mut gradients) = (0.0, Gradients::default());
    for item in items {
        let mut sink = |found: Gradients<B>| match plan.to_host {
            true => gradients.add(found.into_host()?),
            false => gradients.add(found),
        };
        let dropout = Some(item.dropout);
        loss += loss_and_gradients(
            model,
            &item.batch,
            dropout,
            plan.walk,
            plan.scale,
            &mut sink,
        )?;
    }
    Ok(WindowSum { loss, gradients })
}

fn replicas<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    plan: &WindowPlan<'_, B>,
    devices: &[B::Device],
) -> Result<WindowSum<B>> {
    let models: Vec<CausalLm<Autodiff<B>>> = devices
        .iter()
        .map(|device| replica(model, &devices[0], device))
        .collect();
    let count = devices.len();
    let sums: Vec<Result<WindowSum<B>>> = thread::scope(|scope| {
        let threads = models.into_iter().enumerate().map(|(index, model)| {
            let own = items.iter().skip(index).step_by(count);
            scope.spawn(move || share(&model, own, plan))
        });
        // All are started before the first is waited for.
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(join).collect()
    });
    let mut total = WindowSum {
        loss: 0.0,
        gradients: Gradients::default(),
    };
    for (sum, device) in sums.into_iter().zip(devices) {
        let sum = sum?;
        total.loss += sum.loss;
        // Devices of one process do not see each other's memory; they meet through the host.
        let gradients = match *device == devices[0] {
            true => sum.gradients,
            false => sum.gradients.into_host()?,
        };
        total.gradients.add(gradients)?;
    }
    Ok(total)
}

/// A model on another device; on the same one it shares the weights' memory.
fn replica<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    home: &B::Device,
    device: &B::Device,
) -> CausalLm<Autodiff<B>> {
    match device == home {
        true => fresh_leaves(model),
        false => model.clone().fork(device),
    }
}

/// A model that shares the weights' memory and has nodes of its own in the autodiff graph, for a thread of
/// its own.
pub(crate) fn fresh_leaves<B: GlmBackend>(model: &CausalLm<Autodiff<B>>) -> CausalLm<Autodiff<B>> {
    model.clone().map(&mut FreshLeaves)
}

/// Gives every parameter a node of its own in the autodiff graph. Graphs that share nodes are merged, and
/// in Burn 0.21 a merge in one thread and a backward pass in another wait for each other for ever.
struct FreshLeaves;

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for FreshLeaves {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let (id, tensor, _) = param.consume();
        let is_trained = tensor.is_require_grad();
        let leaf = Tensor::from_inner(tensor.inner());
        Param::initialized(id, leaf.set_require_grad(is_trained))
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::Model(glmtune_model::Error::Compute(
            "the computation on one of the devices broke down".to_string(),
        )))
    })
}

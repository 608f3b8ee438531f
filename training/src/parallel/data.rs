//! Data parallel: each replica takes every n-th micro-batch and adds up its gradients, and the sums meet on
//! the first device, or in the host's memory where the optimizer wants them there. The result is that of
//! one device with as many micro-batches.

use std::thread;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use glmtune_model::device_health::settle;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, GlmBackend};

use super::{WindowItem, WindowSum, fresh_leaves, leaf_on};
use crate::backward::{Activations, loss_and_gradients};
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::threads::spawn;

/// How each device computes the gradients of its micro-batches.
#[derive(Debug, Clone, Copy)]
pub struct GradientPass {
    /// What becomes of activations.
    pub activations: Activations,
    /// What the loss is multiplied with before the backward pass.
    pub scale: f64,
    /// Whether gradients leave the device as soon as they exist.
    pub to_host: bool,
}

impl GradientPass {
    /// Micro-batches on one device, one after the other.
    ///
    /// # Errors
    /// As [`loss_and_gradients`].
    pub fn run<'a, B: GlmBackend>(
        &self,
        model: &CausalLm<Autodiff<B>>,
        items: impl Iterator<Item = &'a WindowItem>,
    ) -> Result<WindowSum<B>> {
        let mut sum = WindowSum::default();
        for WindowItem { batch, dropout } in items {
            let mut sink = |found: Gradients<B>| sum.take(found, self.to_host);
            let dropout = Some(*dropout);
            let loss = loss_and_gradients(
                model,
                batch,
                dropout,
                self.activations,
                self.scale,
                &mut sink,
            )?;
            sum.losses.push(loss);
        }
        Ok(sum)
    }
}

/// Micro-batches shared out to replicas; the model is on the first device.
///
/// # Errors
/// As [`loss_and_gradients`].
pub fn replicas<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    pass: GradientPass,
    devices: &[B::Device],
    host: &HostWeights,
) -> Result<WindowSum<B>> {
    let Some(home) = devices.first() else {
        return pass.run(model, items.iter());
    };
    let models: Vec<CausalLm<Autodiff<B>>> = devices
        .iter()
        .map(|device| replica(model, home, device, host))
        .collect();
    let count = devices.len();
    let sums: Vec<Result<WindowSum<B>>> = thread::scope(|scope| {
        let threads = models.into_iter().enumerate().map(|(index, model)| {
            let own = items.iter().skip(index).step_by(count);
            let device = devices[index].clone();
            spawn(scope, move || {
                let sum = pass.run(&model, own)?;
                settle::<B>(&[device])?;
                Ok(sum)
            })
        });
        // All are started before the first is waited for.
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(join).collect()
    });
    let mut total = WindowSum::default();
    for (sum, device) in sums.into_iter().zip(devices) {
        let sum = sum?;
        total.losses.extend(sum.losses);
        // Devices of one process do not see each other's memory; they meet through the host.
        total.take(sum.gradients, device != home)?;
    }
    Ok(total)
}

/// A model for a device and a thread of its own; that on the first device, `home`, shares the weights.
pub(super) fn replica<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    home: &B::Device,
    device: &B::Device,
    host: &HostWeights,
) -> CausalLm<Autodiff<B>> {
    match device == home {
        true => fresh_leaves(model),
        false => host.bind(moved(model, device), &|_| device.clone()),
    }
}

/// A model on another device, but for the weights in the host's memory.
fn moved<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    device: &B::Device,
) -> CausalLm<Autodiff<B>> {
    model.clone().map(&mut Move::<B> { device })
}

struct Move<'a, B: GlmBackend> {
    device: &'a B::Device,
}

impl<B: GlmBackend> ModuleMapper<Autodiff<B>> for Move<'_, B> {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        leaf_on(param, self.device)
    }
}

pub(super) fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| {
        Err(Error::Model(glmtune_model::Error::Compute(
            "the computation on one of the devices broke down".to_string(),
        )))
    })
}

//! Data parallel: each replica takes every n-th micro-batch, and their gradients meet on every device, which
//! makes its own update, or in the host's memory where the optimizer wants them there. The result is that of one
//! device with as many micro-batches.

use std::thread;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use glmtune_model::{CausalLm, GlmBackend};

use super::meeting::{Meeting, Seat};
use super::replicas::Replicas;
use crate::backward::{Activations, Sink, loss_and_gradients};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::optim::ops::TrainingBackend;
use crate::parallel::{WindowItem, WindowSum, fresh_leaves};
use crate::threads::{join, spawn};

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
        for item in items {
            let mut sink = |found: Gradients<B>| sum.take(found, self.to_host);
            let loss = self.one(model, item, &mut sink)?;
            sum.losses.push(loss);
        }
        Ok(sum)
    }

    /// The same, with gradients that meet those of others: a segment's are handed over as soon as the last
    /// micro-batch's are in them, or those of every one where they leave the device. Gives the losses.
    fn run_to_meet<B: TrainingBackend>(
        &self,
        model: &CausalLm<Autodiff<B>>,
        items: &[&WindowItem],
        mut seat: Seat<'_, B>,
    ) -> Result<Vec<Tensor<B, 1>>> {
        let (mut losses, mut sums) = (Vec::new(), Gradients::default());
        for (index, item) in items.iter().enumerate() {
            let meets = self.to_host || index + 1 == items.len();
            let mut sink = |found: Gradients<B>| match meets {
                true => seat.take(sums.completed_by(found)?),
                false => sums.add(found),
            };
            losses.push(self.one(model, item, &mut sink)?);
            if meets {
                seat.take(std::mem::take(&mut sums))?;
                seat.end_turn()?;
            }
        }
        Ok(losses)
    }

    /// A micro-batch on a device; gives its loss.
    pub(crate) fn one<B: GlmBackend>(
        &self,
        model: &CausalLm<Autodiff<B>>,
        item: &WindowItem,
        sink: Sink<'_, B>,
    ) -> Result<Tensor<B, 1>> {
        let (batch, dropout) = (&item.batch, Some(item.dropout));
        loss_and_gradients(model, batch, dropout, self.activations, self.scale, sink)
    }
}

/// Micro-batches shared out to replicas on some devices; the model is on the first. Gives the sum of all, and the
/// gradients once more on each other device that updates them, in the order of the replicas.
///
/// # Errors
/// As [`loss_and_gradients`], or if a device cannot be read.
pub fn replicated<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    pass: GradientPass,
    devices: &[B::Device],
    replicas: &Replicas<B>,
) -> Result<(WindowSum<B>, Vec<Gradients<B>>)> {
    let shares = shares(items, devices.len());
    match pass.to_host && !replicas.sum_on_devices() {
        true => Ok((
            in_host(model, &shares, pass, devices, replicas)?,
            Vec::new(),
        )),
        false => on_devices(model, &shares, pass, devices, replicas),
    }
}

/// What each device computes; those that have nothing to do, which are the last ones, are left out.
fn shares(items: &[WindowItem], devices: usize) -> Vec<Vec<&WindowItem>> {
    let busy = devices.min(items.len());
    let shares = (0..busy).map(|index| items.iter().skip(index).step_by(devices).collect());
    shares.collect()
}

/// Each replica's gradients come to the host, which adds them.
fn in_host<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    shares: &[Vec<&WindowItem>],
    pass: GradientPass,
    devices: &[B::Device],
    replicas: &Replicas<B>,
) -> Result<WindowSum<B>> {
    let sums = each(model, shares, devices, replicas, |model, own, _| {
        pass.run(model, own.iter().copied())
    });
    let mut total = WindowSum::default();
    for sum in sums {
        let sum = sum?;
        total.losses.extend(sum.losses);
        total.take(sum.gradients, true)?;
    }
    Ok(total)
}

/// The replicas' gradients meet on all devices, and stay there or go to the host from there, each once.
fn on_devices<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    shares: &[Vec<&WindowItem>],
    pass: GradientPass,
    devices: &[B::Device],
    replicas: &Replicas<B>,
) -> Result<(WindowSum<B>, Vec<Gradients<B>>)> {
    let all = replicas.devices(&devices[0]);
    let place = |device| all.iter().position(|other| other == device).unwrap_or(0);
    let places = devices.iter().take(shares.len()).map(place).collect();
    let turns = shares.iter().map(|share| match pass.to_host {
        true => share.len(),
        false => 1,
    });
    let (turns, sent) = (turns.collect(), replicas.sent());
    let meeting = Meeting::new(all, places, turns, sent, pass.to_host);
    let losses = each(model, shares, devices, replicas, |model, own, index| {
        pass.run_to_meet(model, own, meeting.seat(index))
    });
    let losses = losses.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let mut sums = meeting.close()?.into_iter();
    let gradients = sums.next().unwrap_or_default();
    Ok((WindowSum { losses, gradients }, sums.collect()))
}

/// Every device at work on its share, in a thread of its own.
fn each<B: TrainingBackend, T: Send>(
    model: &CausalLm<Autodiff<B>>,
    shares: &[Vec<&WindowItem>],
    devices: &[B::Device],
    replicas: &Replicas<B>,
    work: impl Fn(&CausalLm<Autodiff<B>>, &[&WindowItem], usize) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads = shares.iter().zip(devices).enumerate();
        let threads = threads.map(|(index, (own, device))| {
            let model = fresh_leaves(replicas.on(device, model));
            spawn(scope, move || work(&model, own, index))
        });
        // All are started before the first is waited for.
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(join).collect()
    })
}

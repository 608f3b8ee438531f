//! The forward pass of many micro-batches: on one device, shared out to replicas, through the stages of a
//! pipeline, and shared out to processes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use glmtune_model::architecture::through_host;
use glmtune_model::device_health::settle;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, GlmBackend};

use super::devices::replicas::Replicas;
use super::pipeline::{Stages, broken, first_cause};
use super::processes::ranks::ProcessGroup;
use crate::error::Result;
use crate::forward::{LossSum, blocks, embed, head_loss, loss_sum, shared_inputs, walk_along};
use crate::inference::inference_model;
use crate::micro_batch::MicroBatch;
use crate::threads::{join, spawn};

/// Hidden states that wait between two stages: the one behind is never kept waiting, and no more are kept.
const WAITING: usize = 1;

/// Where a forward pass is computed.
#[derive(Debug, Clone, Copy)]
pub struct ForwardPlan<'a, B: GlmBackend> {
    /// The devices; the model is on the first.
    pub devices: &'a [B::Device],
    /// The model on the others.
    pub replicas: &'a Replicas<B>,
    /// The stages of a pipeline, in place of replicas.
    pub stages: Option<&'a Stages<B>>,
    /// The weights that live in the host's memory.
    pub host: &'a HostWeights,
    /// The processes, of which all take part.
    pub group: &'a ProcessGroup,
}

/// The loss of each micro-batch, in their order; in several processes all have all of them.
///
/// # Errors
/// As [`loss_sum`].
pub fn loss_sums<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batches: &[MicroBatch],
    plan: &ForwardPlan<'_, B>,
) -> Result<Vec<LossSum>> {
    let own = plan.group.own(batches.iter().collect());
    let sums = match (plan.stages, plan.devices) {
        (Some(stages), _) => pipeline(model, &own, stages, plan.host)?,
        (None, [] | [_]) => {
            let device = model.device();
            let model = inference_model(model, plan.host, &|_| device.clone());
            let idle = plan.group.missing(batches.len(), own.len());
            let sums = one_device(&model, own.into_iter())?;
            if plan.host.is_sharded() {
                (0..idle).try_for_each(|_| walk_along(&model))?;
            }
            sums
        }
        (None, _) => replicas(model, &own, plan)?,
    };
    gather(&sums, batches.len(), plan.group)
}

fn one_device<'a, B: GlmBackend>(
    model: &CausalLm<B>,
    batches: impl Iterator<Item = &'a MicroBatch>,
) -> Result<Vec<LossSum>> {
    batches.map(|batch| loss_sum(model, batch)).collect()
}

/// Every device takes each n-th micro-batch.
fn replicas<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batches: &[&MicroBatch],
    plan: &ForwardPlan<'_, B>,
) -> Result<Vec<LossSum>> {
    let (devices, count) = (plan.devices, plan.devices.len());
    let parts: Vec<Result<Vec<LossSum>>> = thread::scope(|scope| {
        let threads = devices.iter().enumerate().map(|(index, device)| {
            let model = plan.replicas.on(device, model);
            let model = inference_model(model, plan.host, &|_| device.clone());
            let own = batches.iter().copied().skip(index).step_by(count);
            spawn(scope, move || {
                let sums = one_device(&model, own)?;
                settle::<B>(std::slice::from_ref(device))?;
                Ok(sums)
            })
        });
        // All are started before the first is waited for.
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(join).collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let in_order = (0..batches.len()).map(|index| parts[index % count][index / count]);
    Ok(in_order.collect())
}

/// One stage of a pipeline, forward alone.
struct Stage<'a, B: GlmBackend> {
    model: CausalLm<B>,
    stages: &'a Stages<B>,
    stage: usize,
    hidden_in: Option<Receiver<Tensor<B, 3>>>,
    hidden_out: Option<SyncSender<Tensor<B, 3>>>,
}

/// Micro-batches through the stages, one behind the other.
fn pipeline<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batches: &[&MicroBatch],
    stages: &Stages<B>,
    host: &HostWeights,
) -> Result<Vec<LossSum>> {
    let homes = stages.homes(model)?;
    let model = inference_model(model, host, &|path| homes[path].clone());
    let mut hidden_in = None;
    let all = (0..stages.count()).map(|stage| {
        let (hidden_out, next) = sync_channel(WAITING);
        let is_last = stage + 1 == stages.count();
        Stage {
            model: model.clone(),
            stages,
            stage,
            hidden_in: hidden_in.replace(next),
            hidden_out: (!is_last).then_some(hidden_out),
        }
    });
    let all: Vec<_> = all.collect();
    let sums = thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|stage| spawn(scope, move || stage.run(batches)))
            .collect();
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().unwrap_or_else(|_| Err(broken())))
            .collect()
    });
    Ok(first_cause(sums)?.concat())
}

impl<B: GlmBackend> Stage<'_, B> {
    /// The losses, where this is the last stage.
    fn run(self, batches: &[&MicroBatch]) -> Result<Vec<LossSum>> {
        let device = self.stages.device(self.stage);
        let mut sums = Vec::new();
        for batch in batches {
            let hidden = match &self.hidden_in {
                None => embed(&self.model, &batch.tokens)?,
                Some(link) => link.recv().map_err(|_| broken())?,
            };
            let hidden = through_host(&hidden, device);
            let shared = shared_inputs(&self.model, &batch.tokens)?.to_device(device);
            let own = self.stages.range(self.stage);
            let hidden = blocks(&self.model, own, hidden, &shared, &mut |_, _| ())?;
            match &self.hidden_out {
                None => sums.push(head_loss(&self.model, hidden, batch)?),
                Some(link) => link.send(hidden).map_err(|_| broken())?,
            }
        }
        settle::<B>(std::slice::from_ref(device))?;
        Ok(sums)
    }
}

/// The losses of all processes' micro-batches, out of this one's.
fn gather(own: &[LossSum], count: usize, group: &ProcessGroup) -> Result<Vec<LossSum>> {
    if group.size() == 1 {
        return Ok(own.to_vec());
    }
    let mut values = vec![0.0; 2 * count];
    for (sum, index) in own.iter().zip(group.own((0..count).collect())) {
        values[2 * index] = sum.loss;
        values[2 * index + 1] = sum.targets as f64;
    }
    // Each value is that of one process, and zero in the others.
    let values = group.sum(&values)?;
    let pairs = values.chunks_exact(2);
    let sums = pairs.map(|pair| LossSum {
        loss: pair[0],
        targets: pair[1] as u64,
    });
    Ok(sums.collect())
}

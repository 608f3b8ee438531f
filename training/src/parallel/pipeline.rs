//! Pipeline parallel: consecutive segments on different devices, several micro-batches on their way.
//!
//! Each stage owns a range of blocks; the first also the embeddings and the prefix encoder, the last the
//! head. Stages run the 1F1B schedule (Narayanan et al. 2019): a stage takes in as many micro-batches as
//! there are stages after it, then goes back and forth, so that it never keeps the inputs of more than
//! one micro-batch per stage. Blocks run again in the backward pass, as in a checkpointed pass.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::tensor::Tensor;
use glmtune_model::architecture::through_host;
use glmtune_model::device_health::settle;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::parameters::{PathMapper, map_by_path, parameters};
use glmtune_model::{CausalLm, GlmBackend, Segment};

use super::devices::data::GradientPass;
use super::{WindowItem, WindowSum, fresh_leaves, leaf_on};
use crate::backward::segments::{Inputs, PrefixGradients, Segments};
use crate::backward::{GradientBoundary, LowestTrained};
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::threads::spawn;

/// Which device walks which blocks.
#[derive(Debug, Clone)]
pub struct Stages<B: GlmBackend> {
    devices: Vec<B::Device>,
    blocks: usize,
}

impl<B: GlmBackend> Stages<B> {
    /// Deals the blocks of a model out to a stage per device.
    pub fn new(devices: Vec<B::Device>, blocks: usize) -> Self {
        Self { devices, blocks }
    }

    pub(super) fn count(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn range(&self, stage: usize) -> Range<usize> {
        let start = |stage: usize| stage * self.blocks / self.count();
        start(stage)..start(stage + 1)
    }

    pub(super) fn device(&self, stage: usize) -> &B::Device {
        &self.devices[stage]
    }

    /// The stage that owns a segment.
    fn stage_of(&self, segment: Segment) -> usize {
        match segment {
            Segment::Block(block) => self.stage_of_block(block),
            Segment::Embeddings | Segment::Prefix => 0,
            Segment::Head => self.count() - 1,
        }
    }

    fn stage_of_block(&self, block: usize) -> usize {
        (0..self.count())
            .find(|&stage| self.range(stage).contains(&block))
            .unwrap_or(0)
    }

    /// The device of every parameter.
    pub(super) fn homes(
        &self,
        model: &CausalLm<Autodiff<B>>,
    ) -> Result<BTreeMap<String, B::Device>> {
        let infos = parameters(model).into_iter();
        let homes = infos.map(|info| {
            let stage = self.stage_of(model.segments().of(&info.path)?);
            Ok((info.path, self.devices[stage].clone()))
        });
        homes.collect()
    }

    /// The model with every parameter on the device of its stage, or on its way there.
    ///
    /// # Errors
    /// If no segment has one of its parameters.
    pub fn place(
        &self,
        model: CausalLm<Autodiff<B>>,
        host: &HostWeights,
    ) -> Result<CausalLm<Autodiff<B>>> {
        let homes = self.homes(&model)?;
        let placed = map_by_path(model, &mut StagePlacement::<B> { homes: &homes });
        Ok(host.bind(placed, &|path| homes[path].clone()))
    }
}

struct StagePlacement<'a, B: GlmBackend> {
    homes: &'a BTreeMap<String, B::Device>,
}

impl<B: GlmBackend> PathMapper<Autodiff<B>> for StagePlacement<'_, B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        leaf_on(param, &self.homes[path])
    }
}

/// What goes from one stage to the next and back.
struct Links<B: GlmBackend> {
    hidden_in: Option<Receiver<Tensor<B, 3>>>,
    hidden_out: Option<Sender<Tensor<B, 3>>>,
    grad_in: Option<Receiver<Message<B>>>,
    grad_out: Option<Sender<Message<B>>>,
}

/// The gradient of a stage's output, and those of the prefix from the stages behind it.
struct Message<B: GlmBackend> {
    grad: Tensor<B, 3>,
    prefix: PrefixGradients<B>,
}

/// Walks all micro-batches of a window through the stages and adds up losses and gradients. The model must
/// have been [placed](Stages::place).
///
/// # Errors
/// As [`loss_and_gradients`](crate::backward::loss_and_gradients).
pub fn pipeline<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    items: &[WindowItem],
    stages: &Stages<B>,
    boundary: GradientBoundary,
    pass: GradientPass,
) -> Result<WindowSum<B>> {
    let mut links = links::<B>(stages.count());
    let sums: Vec<Result<WindowSum<B>>> = thread::scope(|scope| {
        let threads = (0..stages.count()).map(|stage| {
            let worker = Stage {
                model: fresh_leaves(model),
                stages,
                stage,
                boundary,
                pass,
                links: links.remove(0),
                waiting: VecDeque::new(),
                sum: WindowSum::default(),
            };
            spawn(scope, move || worker.run(items))
        });
        // All are started before the first is waited for.
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(broken())))
            .collect()
    });
    let mut total = WindowSum::default();
    for sum in first_cause(sums)? {
        total.losses.extend(sum.losses);
        total.gradients.add(sum.gradients)?;
    }
    Ok(total)
}

/// The sums, or the error that broke the pipeline: the other stages only found their links closed.
pub(super) fn first_cause<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut sums, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(sum) => sums.push(sum),
            Err(error) => errors.push(error),
        }
    }
    errors.sort_by_key(|error| matches!(error, Error::PipelineBroken));
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(sums),
    }
}

pub(super) fn broken() -> Error {
    Error::PipelineBroken
}

fn links<B: GlmBackend>(count: usize) -> Vec<Links<B>> {
    let mut links: Vec<Links<B>> = (0..count)
        .map(|_| Links {
            hidden_in: None,
            hidden_out: None,
            grad_in: None,
            grad_out: None,
        })
        .collect();
    for stage in 1..count {
        let (hidden_out, hidden_in) = channel();
        let (grad_out, grad_in) = channel();
        links[stage - 1].hidden_out = Some(hidden_out);
        links[stage].hidden_in = Some(hidden_in);
        links[stage].grad_out = Some(grad_out);
        links[stage - 1].grad_in = Some(grad_in);
    }
    links
}

/// A stage at work.
struct Stage<'a, B: GlmBackend> {
    model: CausalLm<Autodiff<B>>,
    stages: &'a Stages<B>,
    stage: usize,
    boundary: GradientBoundary,
    pass: GradientPass,
    links: Links<B>,
    /// What the backward pass of the micro-batches on their way will need: inputs of the blocks, and on
    /// the last stage the head's.
    waiting: VecDeque<(Inputs<B>, Option<Tensor<B, 3>>)>,
    sum: WindowSum<B>,
}

impl<B: GlmBackend> Stage<'_, B> {
    fn run(mut self, items: &[WindowItem]) -> Result<WindowSum<B>> {
        let ahead = (self.stages.count() - 1 - self.stage).min(items.len());
        for item in &items[..ahead] {
            self.forward(item)?;
        }
        for index in 0..items.len() {
            if let Some(item) = items.get(index + ahead) {
                self.forward(item)?;
            }
            self.backward(&items[index])?;
        }
        settle::<B>(std::slice::from_ref(self.device()))?;
        Ok(self.sum)
    }

    fn segments<'b>(
        model: &'b CausalLm<Autodiff<B>>,
        item: &'b WindowItem,
        boundary: GradientBoundary,
        device: &B::Device,
    ) -> Result<Segments<'b, B>> {
        Segments::new(model, &item.batch, Some(item.dropout), boundary, device)
    }

    fn device(&self) -> &B::Device {
        &self.stages.devices[self.stage]
    }

    fn forward(&mut self, item: &WindowItem) -> Result<()> {
        let segments = Self::segments(&self.model, item, self.boundary, self.device())?;
        let hidden = match &self.links.hidden_in {
            None => segments.embed()?,
            Some(link) => link.recv().map_err(|_| broken())?,
        };
        let hidden = through_host(&hidden, self.device());
        let (hidden, inputs) = segments.forward(self.stages.range(self.stage), hidden)?;
        let head = match &self.links.hidden_out {
            None => Some(hidden),
            Some(link) => {
                link.send(hidden).map_err(|_| broken())?;
                None
            }
        };
        self.waiting.push_back((inputs, head));
        Ok(())
    }

    fn backward(&mut self, item: &WindowItem) -> Result<()> {
        let (inputs, head) = self.waiting.pop_front().ok_or_else(broken)?;
        if head.is_none() && !self.passes_gradients() {
            return Ok(());
        }
        let segments = Self::segments(&self.model, item, self.boundary, self.device())?;
        let goes_on = self.stage > self.lowest_stage();
        let (sum, pass) = (&mut self.sum, self.pass);
        let mut sink = |found: Gradients<B>| sum.take(found, pass.to_host);
        let mut losses = None;
        let (grad, mut prefix) = match head {
            Some(hidden) => {
                let (loss, grad) = segments.head(hidden, pass.scale, &mut sink)?;
                losses = Some(loss);
                (grad, Vec::new())
            }
            None => {
                let link = self.links.grad_in.as_ref().ok_or_else(broken)?;
                let message = link.recv().map_err(|_| broken())?;
                (message.grad, message.prefix)
            }
        };
        let grad = through_host(&grad, &self.stages.devices[self.stage]);
        let (grad, own_prefix) = segments.backward(inputs, grad, &mut sink)?;
        prefix.extend(own_prefix);
        match &self.links.grad_out {
            Some(link) if goes_on => {
                let message = Message { grad, prefix };
                link.send(message).map_err(|_| broken())?;
            }
            Some(_) => {}
            None => {
                let home = &self.stages.devices[0];
                let prefix = prefix.into_iter().map(|(index, key, value)| {
                    (index, through_host(&key, home), through_host(&value, home))
                });
                segments.finish(prefix.collect(), grad, &mut sink)?;
            }
        }
        self.sum.losses.extend(losses);
        Ok(())
    }

    /// The first stage that the backward pass must reach.
    fn lowest_stage(&self) -> usize {
        match (self.boundary.prefix, self.boundary.lowest) {
            (true, _) | (_, LowestTrained::Embeddings) => 0,
            (false, LowestTrained::Head) => self.stages.count() - 1,
            (false, LowestTrained::Block(block)) => self.stages.stage_of_block(block),
        }
    }

    /// Whether gradients come to this stage at all.
    fn passes_gradients(&self) -> bool {
        self.stage >= self.lowest_stage()
    }
}

//! A training from its request to its last step.
//!
//! [`TrainingRequest`] says what is wanted; [`Training::prepare`] loads the model, finds a checkpoint and places
//! everything; [`Training::run`] is the loop. One optimizer step is in `step.rs`, the order of the rows in
//! `epochs.rs`, and what is due after a step (evaluation, outputs, checkpoints, stopping) in `after_step.rs`.

mod after_step;
mod epochs;
mod faults;
mod labels;
mod load;
mod load_best;
mod outcome;
mod prepare;
mod request;
mod shared_window;
mod step;
mod validate;

pub use load::load;
pub use outcome::Outcome;
pub use request::{OutputSettings, Preparation, TrainingRequest};

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use glmtune_model::device_health;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, GlmBackend};

use self::outcome::{LastSaved, Next};
use crate::checkpoint::{Checkpoints, TrainingProgress};
use crate::data::Dataset;
use crate::device_failure::StoppedByDevice;
use crate::error::{Error, Result};
use crate::observer::{Event, Observer, RunDescription, RunLabels};
use crate::optim::Optimizer;
use crate::optim::ops::TrainingBackend;
use crate::parallel::devices::replicas::Replicas;
use crate::parallel::pipeline::Stages;
use crate::parallel::processes::ranks::ProcessGroup;
use crate::report::When;
use crate::saving::{OutputDir, Outputs};
use crate::settings::TrainSettings;
use crate::validation::{Abilities, Validation};

/// A training that is ready to run: a model, and what trains it.
pub struct Training<B: GlmBackend> {
    model: CausalLm<Autodiff<B>>,
    trainer: Trainer<B>,
}

/// Everything that a training works with, but the model.
struct Trainer<B: GlmBackend> {
    settings: TrainSettings,
    dataset: Dataset,
    /// Sequences of an epoch: rows, or packed ones.
    sequences: usize,
    /// What the model is measured on while it is trained.
    validation: Option<Validation<B>>,
    /// What it can do beside its task.
    abilities: Option<Abilities<B>>,
    /// The devices; the model is on the first.
    devices: Vec<B::Device>,
    /// The model on the others, where there is no pipeline.
    replicas: Replicas<B>,
    /// The stages of a pipeline over these devices, where there is one.
    stages: Option<Stages<B>>,
    /// The weights that live in the host's memory.
    host: HostWeights,
    /// Id that fills up short rows.
    pad_id: u32,
    /// Paths of the trained parameters, and their elements.
    trainable: BTreeMap<String, usize>,
    optimizer: Box<dyn Optimizer<B>>,
    checkpoints: Checkpoints,
    outputs: Outputs,
    /// Locked until the training ends.
    output_dir: OutputDir,
    labels: RunLabels,
    group: ProcessGroup,
    progress: TrainingProgress,
}

impl<B: TrainingBackend> Training<B> {
    /// Trains to the end, to the step limit, or until the observer asks to stop. Gives the trained model, whose
    /// trained weights an offloaded optimizer keeps more exactly than the model has them.
    ///
    /// # Errors
    /// If a loss is not finite and that is to stop the run, a trainable parameter gets no gradient in the
    /// first step, a row cannot be used, or the disk or the device fails.
    pub fn run(self, observer: &mut dyn Observer) -> Result<(CausalLm<Autodiff<B>>, Outcome)> {
        let Self { model, mut trainer } = self;
        let outcome = device_health::guard(|| trainer.run(model, observer));
        match device_health::failure() {
            None => outcome,
            // Whatever else went wrong came of it.
            Some(failure) => Err(Error::Device(StoppedByDevice {
                failure: failure.clone(),
                step: Some(trainer.progress.step),
                checkpoint: Checkpoints::last(trainer.output_dir.path()),
            })),
        }
    }

    /// What is known of the run before its first step.
    pub fn description(&self) -> RunDescription {
        self.trainer.description()
    }
}

impl<B: TrainingBackend> Trainer<B> {
    fn run(
        &mut self,
        mut model: CausalLm<Autodiff<B>>,
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, Outcome)> {
        let mut saved = LastSaved::at(self.progress.step);
        let mut next = Next::GoOn;
        observer.notice(&Event::Started(&self.description()));
        if let Some(note) = self.replicas.note() {
            observer.note(&note);
        }
        if self.progress.step == 0 {
            self.measure_abilities(&model, When::Before, observer)?;
        }
        while next == Next::GoOn && !self.is_complete() {
            let epoch = self.micro_batches(self.progress.epoch);
            for window in epoch.windows(self.progress.micro_batch, self.settings.window()) {
                let record;
                (model, record) = self.step(model, window, observer)?;
                self.progress.advance(window.len(), epoch.len());
                observer.notice(&Event::Step(&record));
                next = self.after_step(&model, record.epoch, &mut saved, observer)?;
                if next == Next::Stop {
                    break;
                }
            }
            if self.progress.micro_batch == 0 {
                observer.notice(&Event::EpochEnd(self.progress.epoch));
            }
        }
        if self.is_complete() {
            let best;
            (model, best) = self.load_best(model, observer)?;
            saved.output = best.or(saved.output);
            self.measure_abilities(&model, When::After, observer)?;
        }
        let outcome = Outcome {
            output: saved.output,
            steps: self.progress.step,
            saved_steps: saved.steps,
            interrupted: !self.is_complete() || saved.steps < self.progress.step,
            stopped_early: self.is_stopped_early(),
            best: self.progress.validation.and_then(|standing| standing.best),
        };
        observer.notice(&Event::Finished(&outcome));
        Ok((model, outcome))
    }

    /// Whether every step is done that is to be.
    fn is_complete(&self) -> bool {
        let limit = self.settings.max_steps;
        self.is_stopped_early()
            || self.progress.epoch >= self.settings.num_train_epochs
            || limit.is_some_and(|limit| self.progress.step >= limit)
    }

    fn description(&self) -> RunDescription {
        let limit = self.settings.max_steps.unwrap_or(u64::MAX);
        let total = self.settings.total_steps(self.sequences);
        RunDescription {
            labels: self.labels.clone(),
            trained: self.trainable.values().sum(),
            total_steps: total.min(limit),
            epochs: self.settings.num_train_epochs,
            done_steps: self.progress.step,
        }
    }
}

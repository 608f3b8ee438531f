//! Validation after a step, and what a model can do beside its task before the first step and after the last.

use std::time::Instant;

use burn::backend::Autodiff;
use glmtune_model::CausalLm;
use glmtune_model::device_health;

use super::Trainer;
use crate::error::{Error, Result};
use crate::observer::{Event, Observer};
use crate::optim::ops::TrainingBackend;
use crate::parallel::forward::ForwardPlan;
use crate::report::{AbilityRecord, EvalRecord, When};
use crate::validation::{AbilityFile, Best, Measured, Metric, measure};

impl<B: TrainingBackend> Trainer<B> {
    /// Measures the model on the rows that are held out, if that is due after a step of `epoch`, counted from 1.
    /// Tells whether it is the best so far.
    pub(super) fn validate(
        &mut self,
        model: &CausalLm<Autodiff<B>>,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let Some(settings) = self.settings.validation else {
            return Ok(false);
        };
        if !self.validation_is_due(settings.eval_steps, epoch) {
            return Ok(false);
        }
        let record = self.measure(model, settings.eval_batch_size, epoch)?;
        observer.notice(&Event::Evaluated(&record));
        let found = Best {
            step: record.step,
            epoch,
            value: match settings.metric_for_best_model {
                Metric::Loss => record.loss,
                Metric::Score => record.score.unwrap_or(f64::NAN),
            },
        };
        let standing = self.progress.validation.as_mut();
        Ok(standing.is_some_and(|standing| standing.take(found, &settings)))
    }

    fn validation_is_due(&self, eval_steps: Option<u64>, epoch: usize) -> bool {
        let is_due = match eval_steps {
            Some(every) => self.progress.step.is_multiple_of(every),
            None => self.progress.epoch >= epoch,
        };
        is_due || self.is_complete()
    }

    fn measure(
        &self,
        model: &CausalLm<Autodiff<B>>,
        batch_size: usize,
        epoch: usize,
    ) -> Result<EvalRecord> {
        let started = Instant::now();
        let Some(validation) = &self.validation else {
            return Err(no_rows());
        };
        let (rows, scorer) = (&validation.dataset, validation.scorer.as_deref());
        let sizes = (batch_size, self.pad_id);
        let Measured { loss, scores } = measure(model, rows, scorer, &self.forward_plan(), sizes)?;
        device_health::settle::<B>(&self.devices)?;
        self.check_offloaded(model)?;
        let main = scores.first().cloned();
        Ok(EvalRecord {
            step: self.progress.step,
            epoch,
            loss: loss.mean().unwrap_or(f64::NAN),
            score: main.as_ref().map(|(_, score)| *score),
            score_name: main.map(|(name, _)| name),
            scores: scores.into_iter().collect(),
            rows: rows.len(),
            targets: loss.targets,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn forward_plan(&self) -> ForwardPlan<'_, B> {
        ForwardPlan {
            devices: &self.devices,
            replicas: &self.replicas,
            stages: self.stages.as_ref(),
            host: &self.host,
            group: &self.group,
        }
    }

    /// Whether validations have not become better for so long that the training is to end.
    pub(super) fn is_stopped_early(&self) -> bool {
        let settings = self.settings.validation.as_ref();
        let standing = self.progress.validation.as_ref();
        settings
            .zip(standing)
            .is_some_and(|(settings, standing)| standing.has_run_out(settings))
    }

    /// Measures what the model can do beside its task, where that is asked for and not known yet, and writes it
    /// down.
    pub(super) fn measure_abilities(
        &self,
        model: &CausalLm<Autodiff<B>>,
        when: When,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(abilities) = &self.abilities else {
            return Ok(());
        };
        let dir = self.output_dir.path();
        let mut file = AbilityFile::read(dir, &abilities.fingerprint());
        let step = self.progress.step;
        // The file is on the first process's disk: it decides for all.
        let is_known = self.group.is_first() && file.is_known(when, step);
        if self.group.any(is_known)? {
            return Ok(());
        }
        let plan = self.forward_plan();
        let records = abilities.measure(model, &plan, self.pad_id, (when, step))?;
        device_health::settle::<B>(&self.devices)?;
        self.check_offloaded(model)?;
        if !self.group.is_first() {
            return Ok(());
        }
        file.add(&records);
        file.write(dir)?;
        self.tell_abilities(&records, &file, when, observer);
        Ok(())
    }

    fn tell_abilities(
        &self,
        records: &[AbilityRecord],
        file: &AbilityFile,
        when: When,
        observer: &mut dyn Observer,
    ) {
        for record in records {
            observer.notice(&Event::Ability(record));
        }
        let title = match when {
            When::Before => "abilities before the first step",
            When::After => "abilities before the first step and after the last",
        };
        observer.note(&format!("{title}\n{}", file.table()));
    }
}

fn no_rows() -> Error {
    Error::Request("there are no rows to validate on".to_string())
}

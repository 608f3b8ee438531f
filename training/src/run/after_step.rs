//! What is due after a step. The order binds: evaluate, then save, so that what is saved can depend on it, then
//! stop.

use std::path::PathBuf;

use burn::backend::Autodiff;
use glmtune_model::CausalLm;
use glmtune_model::device_health;

use super::Trainer;
use super::outcome::{LastSaved, Next};
use crate::error::Result;
use crate::observer::{Event, Observer, Request};
use crate::optim::ops::TrainingBackend;
use crate::weights::Weights;

impl<B: TrainingBackend> Trainer<B> {
    /// Does what is due after the step just done, which was one of `epoch`, counted from 1.
    pub(super) fn after_step(
        &mut self,
        model: &CausalLm<Autodiff<B>>,
        epoch: usize,
        saved: &mut LastSaved,
        observer: &mut dyn Observer,
    ) -> Result<Next> {
        if self.common_request(observer.request())? == Request::Discard {
            return Ok(Next::Stop);
        }
        let is_best = self.validate(model, epoch, observer)?;
        // A validation takes its time.
        let request = self.common_request(observer.request())?;
        if request == Request::Discard {
            return Ok(Next::Stop);
        }
        if self.output_is_due(epoch) || (is_best && self.keeps_best()) {
            saved.output = Some(self.save(model, epoch, observer)?);
            saved.steps = self.progress.step;
        } else if request == Request::SaveAndStop {
            self.save_checkpoint(model)?;
            saved.steps = self.progress.step;
        }
        Ok(match request {
            Request::GoOn if !self.is_complete() => Next::GoOn,
            _ => Next::Stop,
        })
    }

    /// What the processes together are asked for.
    fn common_request(&self, own: Request) -> Result<Request> {
        if !self.group.any(own != Request::GoOn)? {
            return Ok(Request::GoOn);
        }
        Ok(match self.group.any(own == Request::Discard)? {
            true => Request::Discard,
            false => Request::SaveAndStop,
        })
    }

    /// An output is due every so many steps, at the end of an epoch, and at the end of the run.
    fn output_is_due(&self, epoch: usize) -> bool {
        let every = self.settings.save_model_step;
        let by_step = every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        by_step || self.progress.epoch >= epoch || self.is_complete()
    }

    /// The step of the best validation, of which nothing is removed.
    fn best_step(&self) -> Option<u64> {
        self.kept_best().map(|best| best.step)
    }

    fn save(
        &self,
        model: &CausalLm<Autodiff<B>>,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf> {
        device_health::settle::<B>(&self.devices)?;
        let step = self.progress.step;
        let weights = Weights::new(model, self.optimizer.as_ref(), &self.host);
        let path = match self.group.is_first() {
            true => self.outputs.save(epoch, step, self.best_step(), &weights)?,
            false => {
                weights.hand_over(&|path| self.outputs.reads(path))?;
                self.outputs.path(epoch, step)
            }
        };
        self.save_checkpoint(model)?;
        observer.notice(&Event::Saved(step, &path));
        Ok(path)
    }

    fn save_checkpoint(&self, model: &CausalLm<Autodiff<B>>) -> Result<()> {
        device_health::settle::<B>(&self.devices)?;
        let is_trained = |path: &str| self.trainable.contains_key(path);
        let weights = Weights::new(model, self.optimizer.as_ref(), &self.host);
        let state = self.optimizer.state();
        // All processes hand over their parts, the first one writes.
        match self.group.is_first() {
            true => self
                .checkpoints
                .save(self.progress, &weights, &is_trained, &state)?,
            false => {
                weights.hand_over(&is_trained)?;
                for tensor in &state {
                    drop((tensor.fetch)()?);
                }
            }
        }
        // None goes on before the checkpoint is complete.
        self.group.any(false)?;
        Ok(())
    }
}

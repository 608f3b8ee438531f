//! A training that ends with its best model.

use std::path::PathBuf;

use burn::backend::Autodiff;
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::{CausalLm, device_health};

use super::Trainer;
use crate::checkpoint::Resume;
use crate::error::{Error, Result};
use crate::observer::Observer;
use crate::optim::ops::TrainingBackend;
use crate::validation::Best;
use crate::weights::Weights;

impl<B: TrainingBackend> Trainer<B> {
    /// The best validation, if the training is to end with its model.
    pub(super) fn kept_best(&self) -> Option<Best> {
        let is_kept = self.keeps_best();
        let standing = self.progress.validation.filter(|_| is_kept);
        standing.and_then(|standing| standing.best)
    }

    /// Whether every model that is the best so far is saved.
    pub(super) fn keeps_best(&self) -> bool {
        let settings = self.settings.validation.as_ref();
        settings.is_some_and(|settings| settings.load_best_model_at_end)
    }

    /// The best model in place of the last, and where its output is, if the training is to end so.
    pub(super) fn load_best(
        &mut self,
        mut model: CausalLm<Autodiff<B>>,
        observer: &mut dyn Observer,
    ) -> Result<(CausalLm<Autodiff<B>>, Option<PathBuf>)> {
        let Some(best) = self.kept_best() else {
            return Ok((model, None));
        };
        if best.step != self.progress.step {
            model = self.restore(model, best.step)?;
        }
        device_health::settle::<B>(&self.devices)?;
        let path = self.save_best(&model)?;
        let metric = self
            .progress
            .validation
            .map_or("", |standing| standing.metric.name());
        observer.note(&format!(
            "the best model is that of step {}, {metric} {:.4}: saved {}",
            best.step,
            best.value,
            path.display()
        ));
        Ok((model, Some(path)))
    }

    fn save_best(&self, model: &CausalLm<Autodiff<B>>) -> Result<PathBuf> {
        let weights = Weights::new(model, self.optimizer.as_ref(), &self.host);
        let path = match self.group.is_first() {
            true => self.outputs.save_best(&weights)?,
            false => {
                weights.hand_over(&|path| self.outputs.reads(path))?;
                self.outputs.best_path()
            }
        };
        // None goes on before the output is complete.
        self.group.any(false)?;
        Ok(path)
    }

    /// Weights, masters and moments as they were after a step.
    fn restore(
        &mut self,
        model: CausalLm<Autodiff<B>>,
        step: u64,
    ) -> Result<CausalLm<Autodiff<B>>> {
        let gone = || Error::Request(format!("the checkpoint of the best step, {step}, is gone"));
        let saved = self
            .checkpoints
            .find(Resume::Step(step))?
            .ok_or_else(gone)?;
        let trained = parameters(&model).into_iter();
        let trained = trained.filter(|info| self.trainable.contains_key(&info.path));
        let trained: Vec<ParameterInfo> = trained.collect();
        let device = model.device();
        let model = saved.restore_weights(model, &mut self.host, &trained)?;
        saved.restore_optimizer(self.optimizer.as_mut(), &device)?;
        let replicas = &mut self.replicas;
        replicas
            .each_optimizer(&mut |optimizer, device| saved.restore_optimizer(optimizer, device))?;
        let is_trained = |path: &str| self.trainable.contains_key(path);
        replicas.follow(&model, &self.host, &is_trained)?;
        Ok(model)
    }
}

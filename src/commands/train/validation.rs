//! What a training is measured on while it runs: the rows that are held out, and those that test what the model can
//! do beside its task.

use glmtune_model::GlmBackend;
use glmtune_training::data::Dataset;
use glmtune_training::settings::TrainSettings;
use glmtune_training::validation::{Abilities, Validation, hold_out};

use super::abilities;
use super::answers::{AnsweredRows, Answers};
use super::request::Request;
use super::validation_settings::batch_size;
use crate::cli::TaskChoice;
use crate::commands::error::{Error, Result};

impl<B: GlmBackend> Request<'_, B> {
    /// The rows to train on, and those to measure the model on.
    ///
    /// # Errors
    /// If a file cannot be read, a row is broken, no row is left, or a model that is to answer cannot.
    pub fn validation(
        &self,
        settings: &TrainSettings,
        rows: Dataset,
    ) -> Result<(Dataset, Option<Validation<B>>)> {
        let flags = &self.args.validation;
        let (rows, held_out, path) = match (&flags.eval_path, flags.val_size) {
            (Some(path), _) => (rows, self.dataset(path, settings)?, path),
            (None, Some(size)) => {
                let (rows, held_out) = hold_out(&rows, size, settings.seed)?;
                (rows, held_out, &self.args.train_path)
            }
            (None, None) => return Ok((rows, None)),
        };
        self.say(format!(
            "held out: {} rows, {} targets; {} rows are trained on",
            held_out.len(),
            held_out.summary().targets,
            rows.len()
        ));
        let scorer = match flags.eval_task {
            None => None,
            Some(task) => {
                can_generate(settings, "--eval_task")?;
                let answered = AnsweredRows::read(self, path, settings)?;
                let first: Vec<usize> = (0..held_out.len().min(flags.eval_rows)).collect();
                let some = held_out.select(&first);
                let answers = answered.of(&some, TaskChoice::from(task), batch_size(self.args))?;
                Some(Box::new(answers) as _)
            }
        };
        let validation = Validation {
            dataset: held_out,
            scorer,
        };
        Ok((rows, Some(validation)))
    }

    /// What the model can do beside its task, if that is to be measured.
    ///
    /// # Errors
    /// If the file cannot be read, a row is broken or lacks its ability.
    pub fn abilities(&self, settings: &TrainSettings) -> Result<Option<Abilities<B>>> {
        let Some(path) = &self.args.validation.general_path else {
            return Ok(None);
        };
        let dataset = self.dataset(path, settings)?;
        let answered = AnsweredRows::read(self, path, settings)?;
        let can_answer = can_generate(settings, "--general_path");
        if let Err(error) = &can_answer {
            self.say(format!(
                "{error}: abilities are measured by their loss alone"
            ));
        }
        let size = batch_size(self.args);
        let all = abilities::split(&dataset, &answered, path)?;
        let all = all.into_iter().map(|(name, dataset)| {
            let answers = can_answer
                .is_ok()
                .then(|| answered.of(&dataset, TaskChoice::Abilities, size));
            let answers: Option<Answers> = answers.transpose()?;
            Ok(abilities::ability(name, dataset, answers))
        });
        Ok(Some(Abilities {
            all: all.collect::<Result<_>>()?,
            batch_size: size,
        }))
    }
}

/// Whether a model that is trained so can also answer: all its weights must be on one device.
fn can_generate(settings: &TrainSettings, flag: &str) -> Result<()> {
    let obstacle = match () {
        () if settings.pipeline_stages > 1 => "--pipeline_stages, which deals the weights out",
        () if settings.offload_param => "--offload_param, which keeps weights off the device",
        () => return Ok(()),
    };
    Err(Error::Request(format!(
        "{flag} lets the model answer, which needs all weights on one device, not {obstacle}"
    )))
}

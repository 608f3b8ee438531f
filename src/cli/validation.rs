//! The flags of `glmtune train` that measure a model while it is trained; names and meanings of the Trainer's.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use glmtune_training::validation::{HoldOut, Metric};
use serde::Serialize;

use super::TaskChoice;
use super::parse_bool::parse_bool;

/// Validation while training.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Validation")]
pub struct ValidationArgs {
    /// Measure the loss on these rows, which are not trained on, at the end of each epoch.
    #[arg(
        long,
        alias = "validation-file",
        value_name = "FILE",
        conflicts_with = "val_size"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_path: Option<PathBuf>,
    /// Hold some of the rows out for it instead: a share, such as 0.1, or a number of rows. --seed draws them.
    #[arg(long, value_name = "X|N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_size: Option<HoldOut>,
    /// Measure every N steps and at the end, instead of at the ends of epochs.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<u64>,
    /// Rows that are measured together [default: --per_device_train_batch_size].
    #[arg(long, alias = "per-device-eval-batch-size", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_batch_size: Option<usize>,
    /// Also let the model answer the rows, the likeliest token each time, and score the answers.
    #[arg(long, value_enum, value_name = "TASK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_task: Option<EvalTask>,
    /// Rows that are answered: the first ones.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub eval_rows: usize,
    /// Keep the best model's checkpoint and output, and end with it: its output is `best` in the output directory.
    #[arg(
        long,
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = parse_bool,
        action = ArgAction::Set,
        value_name = "true|false"
    )]
    pub load_best_model_at_end: bool,
    /// What tells which model is the best: the loss, or the score of --eval_task.
    #[arg(long, value_enum, default_value_t = MetricChoice::Loss, value_name = "METRIC")]
    pub metric_for_best_model: MetricChoice,
    /// End the run after so many measurements in a row that are no better than the best.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience: Option<u64>,
    /// How much better a measurement must be to count as better for --early_stopping_patience.
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub early_stopping_threshold: f64,
    /// Rows with an `ability`: measure what the model can do of each before the first and after the last step.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub general_path: Option<PathBuf>,
    /// The Trainer's argument; it follows from the metric, and must not contradict it.
    #[arg(long, hide = true, value_parser = parse_bool, value_name = "true|false")]
    #[serde(skip)]
    pub greater_is_better: Option<bool>,
}

impl ValidationArgs {
    /// Whether there are rows to validate on.
    pub fn has_rows(&self) -> bool {
        self.eval_path.is_some() || self.val_size.is_some()
    }

    /// The flags that are given and say nothing without rows to validate on, as they are written.
    pub fn without_rows(&self) -> Vec<&'static str> {
        let given = [
            ("--eval_steps", self.eval_steps.is_some()),
            (
                "--eval_batch_size",
                self.eval_batch_size.is_some() && self.general_path.is_none(),
            ),
            ("--eval_task", self.eval_task.is_some()),
            ("--load_best_model_at_end", self.load_best_model_at_end),
            (
                "--early_stopping_patience",
                self.early_stopping_patience.is_some(),
            ),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(name, _)| name).collect()
    }
}

/// How generated answers are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalTask {
    /// The F1 of relation triples.
    Triples,
    /// ROUGE-L over words; BLEU and the others beside it.
    Text,
    /// The points of questions generated for a document.
    Questions,
}

impl From<EvalTask> for TaskChoice {
    fn from(task: EvalTask) -> Self {
        match task {
            EvalTask::Triples => Self::Triples,
            EvalTask::Text => Self::Text,
            EvalTask::Questions => Self::Questions,
        }
    }
}

/// What tells which model is the best, under its own and the Trainer's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricChoice {
    /// The loss: less is better.
    #[value(alias = "eval_loss")]
    Loss,
    /// The score of --eval_task: more is better.
    #[value(alias = "eval_score")]
    Score,
}

impl From<MetricChoice> for Metric {
    fn from(choice: MetricChoice) -> Self {
        match choice {
            MetricChoice::Loss => Self::Loss,
            MetricChoice::Score => Self::Score,
        }
    }
}

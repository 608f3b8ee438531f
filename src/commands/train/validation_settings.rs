//! The flags of validation: what they ask for, and where they contradict each other.

use glmtune_training::validation::{Metric, ValidationSettings};

use crate::cli::{MetricChoice, TrainArgs};
use crate::commands::error::{Error, Result};

/// When the model is measured, and what follows; nothing where no rows are held out.
pub fn settings(args: &TrainArgs) -> Option<ValidationSettings> {
    let flags = &args.validation;
    flags.has_rows().then(|| ValidationSettings {
        eval_steps: flags.eval_steps,
        eval_batch_size: batch_size(args),
        metric_for_best_model: flags.metric_for_best_model.into(),
        load_best_model_at_end: flags.load_best_model_at_end,
        early_stopping_patience: flags.early_stopping_patience,
        early_stopping_threshold: flags.early_stopping_threshold,
    })
}

/// Rows that are measured together.
pub fn batch_size(args: &TrainArgs) -> usize {
    let given = args.validation.eval_batch_size;
    given.unwrap_or(args.per_device_train_batch_size)
}

/// Checks that the flags do not contradict each other.
///
/// # Errors
/// The first contradiction.
pub fn check(args: &TrainArgs) -> Result<()> {
    let flags = &args.validation;
    let refuse = |what: String| Err(Error::Request(what));
    let idle = flags.without_rows();
    if !flags.has_rows() && !idle.is_empty() {
        return refuse(format!(
            "{}: there are no rows to measure the model on; give --eval_path FILE or --val_size",
            idle.join(", ")
        ));
    }
    if flags.metric_for_best_model == MetricChoice::Score && flags.eval_task.is_none() {
        return refuse(
            "--metric_for_best_model score: no answers are scored; give --eval_task".to_string(),
        );
    }
    let metric = Metric::from(flags.metric_for_best_model);
    let greater = metric == Metric::Score;
    if flags
        .greater_is_better
        .is_some_and(|given| given != greater)
    {
        return refuse(format!(
            "--greater_is_better contradicts --metric_for_best_model {}; leave it out",
            metric.name()
        ));
    }
    if flags.eval_rows == 0 {
        return refuse("--eval_rows is 0, must be at least 1".to_string());
    }
    Ok(())
}

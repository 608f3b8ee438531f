//! `settings.toml` in the output directory: the settings of a run, as `--config` takes them back.

use std::path::Path;

use glmtune_model::checkpoint::AtomicFile;
use glmtune_training::settings::TrainSettings;

use crate::cli::TrainArgs;
use crate::commands::error::{Error, Result};

/// Its name.
const NAME: &str = "settings.toml";

/// Refuses settings that could not be noted, before the work.
///
/// # Errors
/// If a path is not valid UTF-8.
pub fn check(args: &TrainArgs) -> Result<()> {
    text_of(args).map(drop)
}

fn text_of(args: &TrainArgs) -> Result<String> {
    toml::to_string(args).map_err(unnotable)
}

fn unnotable(error: impl std::fmt::Display) -> Error {
    Error::Request(format!("the settings cannot be noted: {error}"))
}

/// Writes the resolved settings, in the form that `--config` takes back.
///
/// # Errors
/// If the disk refuses.
pub fn save(args: &TrainArgs, settings: &TrainSettings) -> Result<()> {
    let mut resolved = args.clone();
    resolved.model.mode = Some(settings.mode);
    resolved.ds_file = args.deepspeed_file().map(Path::to_path_buf);
    resolved.learning_rate = Some(settings.learning_rate);
    resolved.min_learning_rate = settings.min_learning_rate;
    resolved.warmup_steps = settings.warmup_steps;
    resolved.weight_decay = Some(settings.optimizer.weight_decay);
    resolved.adam_beta1 = Some(settings.optimizer.beta1);
    resolved.adam_beta2 = Some(settings.optimizer.beta2);
    resolved.adam_epsilon = Some(settings.optimizer.epsilon);
    resolved.max_grad_norm = Some(settings.max_grad_norm.unwrap_or(0.0));
    resolved.layout.max_src_len = Some(settings.limits.max_src_len);
    if let Some(adapter) = settings.method.adapter() {
        resolved.method = args.method.with(adapter.values()).map_err(unnotable)?;
    }
    let text = text_of(&resolved)?;
    let head = "# Settings of this run; `glmtune train --config` takes them back.\n";
    AtomicFile::write(
        &args.output_dir.join(NAME),
        format!("{head}{text}").as_bytes(),
    )?;
    Ok(())
}

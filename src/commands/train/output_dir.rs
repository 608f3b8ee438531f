//! The output directory: an earlier run's files are kept, the settings are noted.

use std::fs;
use std::path::Path;

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::tokenizer::Mode;
use glmtune_training::output::saved;
use glmtune_training::settings::TrainSettings;

use crate::cli::TrainArgs;
use crate::commands::error::{Error, Result};
use crate::commands::output::say;

/// What a run writes, beside its outputs.
const FILES: [&str; 5] = [
    "metrics.jsonl",
    "settings.toml",
    "loss.svg",
    "runs",
    "checkpoint",
];
/// Names of the settings and of the metrics in the output directory.
const SETTINGS: &str = "settings.toml";
const METRICS: &str = "metrics.jsonl";

/// Makes the directory ready for a new run: what an earlier one left there is moved into `earlier-N`.
///
/// # Errors
/// If the disk refuses.
pub fn start(dir: &Path) -> Result<()> {
    let failed = |error| Error::Model(glmtune_model::Error::io(dir, error));
    if dir.exists() && !dir.is_dir() {
        let detail = format!("{}: exists and is no directory", dir.display());
        return Err(Error::Request(detail));
    }
    fs::create_dir_all(dir).map_err(failed)?;
    if !dir.join(METRICS).exists() {
        return Ok(());
    }
    let earlier = (1..)
        .map(|number| dir.join(format!("earlier-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join("earlier"));
    fs::create_dir(&earlier).map_err(failed)?;
    let files = FILES.iter().map(|name| dir.join(name));
    let outputs = saved(dir).into_iter().map(|(_, path)| path);
    for path in files.chain(outputs).filter(|path| path.exists()) {
        if let Some(name) = path.file_name() {
            fs::rename(&path, earlier.join(name)).map_err(failed)?;
        }
    }
    say(format!(
        "an earlier run's files are now in {} (to go on with a run, use --resume)",
        earlier.display()
    ));
    Ok(())
}

/// Makes the directory ready for a run that is to be resumed and has no checkpoint yet.
///
/// # Errors
/// If the disk refuses.
pub fn restart(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| glmtune_model::Error::io(dir, error).into())
}

/// Writes the resolved settings, in the form that `--config` takes back.
///
/// # Errors
/// If the disk refuses.
pub fn save_settings(args: &TrainArgs, mode: Mode, settings: &TrainSettings) -> Result<()> {
    let mut resolved = args.clone();
    resolved.model.mode = Some(mode);
    resolved.ds_file = args.deepspeed_file().map(Path::to_path_buf);
    resolved.learning_rate = Some(settings.learning_rate);
    resolved.min_learning_rate = settings.min_learning_rate;
    resolved.warmup_steps = settings.warmup_steps;
    resolved.weight_decay = Some(settings.optimizer.weight_decay);
    resolved.adam_beta1 = Some(settings.optimizer.beta1);
    resolved.adam_beta2 = Some(settings.optimizer.beta2);
    resolved.adam_epsilon = Some(settings.optimizer.epsilon);
    resolved.max_grad_norm = Some(settings.max_grad_norm.unwrap_or(0.0));
    let text = toml::to_string(&resolved)
        .map_err(|error| Error::Request(format!("the settings cannot be written: {error}")))?;
    let head = "# Settings of this run; `glmtune train --config` takes them back.\n";
    AtomicFile::write(
        &args.output_dir.join(SETTINGS),
        format!("{head}{text}").as_bytes(),
    )?;
    Ok(())
}

//! The output directory of a training: whether it can be one, who writes in it, what an earlier run left
//! there, and the settings that are noted. Whose things are whose is told in
//! [`glmtune_training::saving::folder`].

use std::fs;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::{AtomicFile, DirLock};
use glmtune_model::tokenizer::Mode;
use glmtune_training::saving::folder::{named_outputs, set_aside};
use glmtune_training::settings::{Method, TrainSettings};
use serde_json::Value;

use crate::cli::TrainArgs;
use crate::commands::console::note;
use crate::commands::error::{Error, Result};
use crate::commands::leftovers::tidy;

/// Names of the settings and of the metrics in the output directory.
const SETTINGS: &str = "settings.toml";
const METRICS: &str = "metrics.jsonl";
/// Folders that a run writes into.
const FOLDERS: [&str; 2] = ["runs", "checkpoint"];
/// What a run writes, beside its outputs.
const FILES: [&str; 5] = [METRICS, SETTINGS, "loss.svg", FOLDERS[0], FOLDERS[1]];
/// Longest path of an output directory, in bytes: the longest that systems take, less what comes inside.
const MAX_PATH: usize = 4096 - 512;

/// An output directory that this process alone writes to.
#[derive(Debug)]
pub struct OutputDir {
    path: PathBuf,
    /// Given back before an empty directory is removed.
    lock: Option<DirLock>,
    is_new: bool,
}

impl OutputDir {
    /// Makes the directory if it is missing, locks it, and removes what killed runs left half written.
    ///
    /// # Errors
    /// If it cannot be an output directory, or another process writes in it.
    pub fn open(path: &Path) -> Result<Self> {
        check(path)?;
        let is_new = !path.exists();
        let failed = |error| Error::Model(glmtune_model::Error::io(path, error));
        fs::create_dir_all(path).map_err(failed)?;
        let mut dir = Self {
            path: path.to_path_buf(),
            lock: None,
            is_new,
        };
        let lock = DirLock::acquire(path)?;
        if let Some(owner) = &lock.left_by {
            note(format!(
                "{}: {owner} ended without finishing; going on in its place",
                path.display()
            ));
        }
        dir.lock = Some(lock);
        for folder in [path.to_path_buf(), path.join(FOLDERS[1])] {
            tidy(&folder);
        }
        Ok(dir)
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        self.lock = None;
        if self.is_new {
            // A request that was refused leaves nothing. A directory that holds something stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn check(path: &Path) -> Result<()> {
    let refuse = |detail: &str| {
        let detail = format!("--output_dir {}: {detail}", path.display());
        Err(Error::Request(detail))
    };
    if path.to_str().is_none() {
        return refuse("the name is not valid UTF-8, and could not be noted in the settings");
    }
    if path.as_os_str().len() > MAX_PATH {
        return refuse("the path is too long");
    }
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => refuse("exists and is not a directory"),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidFilename => {
            refuse("the name is longer than the file system takes")
        }
        Err(_) if path.is_symlink() => refuse("a link to what does not exist"),
        _ => Ok(()),
    }
}

/// Makes the directory ready for a new run: what an earlier one left there, or what looks like it, is moved
/// into `earlier-N`. Tells so.
///
/// # Errors
/// If the disk refuses.
pub fn start(dir: &Path) -> Result<Option<String>> {
    let files = FILES.iter().map(|name| dir.join(name));
    let outputs = named_outputs(dir).into_iter().map(|output| output.path);
    let earlier = set_aside(dir, &files.chain(outputs).collect::<Vec<_>>())?;
    Ok(earlier.map(|earlier| {
        format!(
            "an earlier run's files are now in {} (to go on with a run, use --resume)",
            earlier.display()
        )
    }))
}

/// Makes the directory ready for a run that goes on: links in the place of its files are moved into
/// `earlier-N`. Tells so.
///
/// # Errors
/// If the disk refuses.
pub fn go_on(dir: &Path) -> Result<Option<String>> {
    let files = FILES.iter().map(|name| dir.join(name));
    let links: Vec<PathBuf> = files.filter(|path| path.is_symlink()).collect();
    let earlier = set_aside(dir, &links)?;
    Ok(earlier.map(|earlier| {
        format!(
            "links in the place of the run's files are now in {}",
            earlier.display()
        )
    }))
}

/// Makes the directory ready for a run that is to be resumed and has no checkpoint: one that ended before
/// its first was complete starts again, and what it left is kept in `earlier-N`.
///
/// # Errors
/// If there was one, so that more is missing than was never there; if the disk refuses.
pub fn restart(dir: &Path) -> Result<Option<String>> {
    let (outputs, last) = (named_outputs(dir), last_step(dir));
    // An output comes just before the checkpoint of its step.
    let is_first = matches!(&outputs[..], [only] if Some(only.step) == last);
    if outputs.is_empty() || is_first {
        return start(dir);
    }
    let names: Vec<_> = outputs
        .iter()
        .filter_map(|output| Some(output.path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let metrics = last.map_or(String::new(), |step| {
        format!("{METRICS} with steps up to {step} and ")
    });
    Err(Error::Request(format!(
        "{}: --resume finds no checkpoint here, but {metrics}{}; put the folder `{}` back, or start anew without \
         --resume, which keeps what is here in earlier-N (--adapter goes on from an output's weights)",
        dir.display(),
        names.join(", "),
        FOLDERS[1]
    )))
}

/// The last step in the metrics.
fn last_step(dir: &Path) -> Option<u64> {
    let path = dir.join(METRICS);
    let is_file = path.symlink_metadata().ok()?.is_file();
    let text = is_file.then(|| fs::read_to_string(path).ok()).flatten()?;
    let mut lines = text.lines().rev();
    lines.find_map(|line| {
        let row: Value = serde_json::from_str(line).ok()?;
        row["step"].as_u64()
    })
}

/// Refuses settings that could not be noted, before the work.
///
/// # Errors
/// If a path is not valid UTF-8.
pub fn check_settings(args: &TrainArgs) -> Result<()> {
    settings_text(args).map(drop)
}

fn settings_text(args: &TrainArgs) -> Result<String> {
    toml::to_string(args)
        .map_err(|error| Error::Request(format!("the settings cannot be noted: {error}")))
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
    resolved.layout.max_src_len = Some(settings.limits.max_src_len);
    resolve_method(&mut resolved, &settings.method);
    let text = settings_text(&resolved)?;
    let head = "# Settings of this run; `glmtune train --config` takes them back.\n";
    AtomicFile::write(
        &args.output_dir.join(SETTINGS),
        format!("{head}{text}").as_bytes(),
    )?;
    Ok(())
}

fn resolve_method(args: &mut TrainArgs, method: &Method) {
    match method {
        Method::Lora {
            lora_dim,
            lora_alpha,
            lora_dropout,
            lora_module_name,
        } => {
            args.lora_dim = Some(*lora_dim);
            args.lora_alpha = Some(*lora_alpha);
            args.lora_dropout = Some(*lora_dropout);
            args.lora_module_name.clone_from(lora_module_name);
        }
        Method::Ptuning {
            pre_seq_len,
            prefix_projection,
            ..
        } => {
            args.pre_seq_len = Some(*pre_seq_len);
            args.prefix_projection = Some(*prefix_projection);
        }
        Method::Freeze { .. } | Method::All => {}
    }
}

//! The settings of a DeepSpeed configuration file (`--ds_file`), in the types of this crate.
//!
//! A key either acts, or is accepted and noted as without effect here, or is refused by name; all faults of
//! a file are told at once. What the command line of the Python ancestor overrides in every file (batch
//! sizes, accumulation) is checked and noted, and `"auto"` means that the command line decides. Each section
//! of the file is read by a file here.

mod notes;
mod optimizer;
mod precision;
mod reporting;
mod scheduler;
#[cfg(test)]
mod tests;
mod zero;

pub use scheduler::Scheduler;
pub use zero::Zero;

use std::path::Path;

use glmtune_model::files::{self, Limit};
use glmtune_model::json_settings::{self, COUNT, NUMBER, Section};
use serde_json::{Map, Value};

use self::notes::COMMAND_LINE;
use crate::error::Result;
use crate::optim::AdamWSettings;
use crate::precision::LossScaleSettings;

/// A configuration file. Where a setting is an [`Option`], `None` leaves it to the command line: the file
/// says `"auto"` or, unless told otherwise, nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeepSpeedConfig {
    /// `zero_optimization`.
    pub zero: Zero,
    /// `bf16.enabled`; never together with `fp16`.
    pub bf16: bool,
    /// The loss scale of `fp16`, where that is enabled.
    pub fp16: Option<LossScaleSettings>,
    /// `gradient_clipping`: the greatest global norm of the gradients; 0 for no clipping. A file without
    /// this key leaves it to the command line too: the ancestor clips whatever the file says.
    pub gradient_clipping: Option<f64>,
    /// The highest learning rate: the scheduler's `warmup_max_lr`, which overrules the optimizer's `lr` in
    /// DeepSpeed, or that.
    pub learning_rate: Option<f64>,
    /// The rest of `scheduler`.
    pub scheduler: Scheduler,
    /// `optimizer`, with the defaults for what the file leaves open.
    pub optimizer: AdamWSettings,
    /// One line for each key that is accepted and does nothing here, or not what it says.
    pub notes: Vec<String>,
}

impl DeepSpeedConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a JSON object, or if keys of it are unknown, wrong or not
    /// supported: all of them are named together.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_json(&files::read_text(path, Limit::SETTINGS)?, path)
    }

    /// Parses the text of a configuration file; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let object: Map<String, Value> = files::json(text.as_bytes(), path)?;
        let (config, notes) = json_settings::read(&object, path, read_top)?;
        Ok(Self { notes, ..config })
    }
}

fn read_top(top: &mut Section<'_>) -> DeepSpeedConfig {
    let batch = [
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
    ];
    top.inert(&batch, &COUNT, COMMAND_LINE);
    let zero = top.section("zero_optimization", zero::read);
    let (bf16, fp16) = precision::read(top);
    let gradient_clipping = top.read_or_auto("gradient_clipping", &NUMBER);
    let (scheduler, scheduled) = top
        .section("scheduler", scheduler::read)
        .unwrap_or_default();
    let (optimizer, rate) = top
        .section("optimizer", optimizer::read)
        .unwrap_or_default();
    reporting::read(top);
    top.refuse_unknown();
    DeepSpeedConfig {
        zero: zero.unwrap_or_default(),
        bf16,
        fp16,
        gradient_clipping,
        learning_rate: scheduled.or(rate),
        scheduler,
        optimizer,
        notes: Vec::new(),
    }
}

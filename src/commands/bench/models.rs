//! The models that are measured: directories that are given, or made with random weights when they are first needed.

use std::path::{Path, PathBuf};

use glmtune_model::init::{InitSettings, init};
use glmtune_model::presets::Preset;
use glmtune_model::tokenizer::Mode;

use super::folder::Folder;
use crate::backend::AnyBackend;
use crate::cli::{BenchArgs, Precision};
use crate::commands::console::{note, progress_bar};
use crate::commands::error::Result;

/// Which model is measured.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelChoice {
    /// That of a directory.
    Directory(PathBuf),
    /// One with random weights.
    Random(Preset),
}

impl ModelChoice {
    /// The model of the flags, or else that of a preset.
    pub fn of(args: &BenchArgs, preset: Preset) -> Self {
        match &args.model_name_or_path {
            Some(dir) => Self::Directory(dir.clone()),
            None => Self::Random(args.preset.unwrap_or(preset)),
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(dir) => dir.display().to_string(),
            Self::Random(preset) => preset.name().to_string(),
        }
    }
}

/// Where models are made.
#[derive(Debug)]
pub struct Models<'a> {
    folder: &'a Folder,
    mode: Option<Mode>,
    dtype: Option<Precision>,
}

impl<'a> Models<'a> {
    /// Models in a folder.
    pub fn new(folder: &'a Folder, args: &BenchArgs) -> Self {
        Self {
            folder,
            mode: args.mode,
            dtype: args.compute.dtype,
        }
    }

    /// The directory of a model, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn directory(&self, choice: &ModelChoice) -> Result<PathBuf> {
        match choice {
            ModelChoice::Directory(dir) => Ok(dir.clone()),
            ModelChoice::Random(preset) => self.random(*preset),
        }
    }

    fn random(&self, preset: Preset) -> Result<PathBuf> {
        let settings = InitSettings {
            mode: self.mode,
            // What a vocabulary of bytes would measure is another model.
            published_vocabulary: !matches!(preset, Preset::Tiny | Preset::Mini),
            dtype: self.dtype.map(Into::into),
            ..InitSettings::new(preset)
        };
        let dir = self.folder.path().join(name(&settings));
        // It comes there whole or not at all.
        if !dir.join("config.json").is_file() {
            make(&dir, &settings)?;
        }
        Ok(dir)
    }
}

/// A name for each of the models that differ.
fn name(settings: &InitSettings) -> String {
    let mode = settings.mode.map(|mode| format!("-{mode}"));
    let dtype = settings.dtype.map(|dtype| format!("-{dtype}"));
    let [mode, dtype] = [mode, dtype].map(Option::unwrap_or_default);
    format!("{}{mode}{dtype}", settings.preset.name())
}

fn make(dir: &Path, settings: &InitSettings) -> Result<()> {
    let bar = progress_bar("random weights");
    let made = init::<AnyBackend>(dir, settings, &mut |done, count| {
        bar.set_length(count as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    note(format!(
        "{}: random weights, {} parameters in {}",
        settings.preset.name(),
        crate::commands::console::grouped(made.parameters),
        made.dtype
    ));
    Ok(())
}

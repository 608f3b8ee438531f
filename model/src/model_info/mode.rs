//! In which of the families' forms a model speaks.

use std::path::{Path, PathBuf};

use super::note::Note;
use crate::adapters::AdapterMeta;
use crate::config::{ChatGlm2Config, ModelConfig};
use crate::error::{Error, Result};
use crate::tokenizer::{Mode, Tokenizer};

/// The mode that glmtune noted in a model directory that it made.
///
/// # Errors
/// If the note cannot be read.
pub fn noted_mode(dir: &Path) -> Result<Option<Mode>> {
    let mode = AdapterMeta::read(dir)?.and_then(|meta| meta.mode);
    mode.map(|mode| mode.parse()).transpose()
}

/// The mode that the first of some adapters with a note was trained in.
pub(super) fn noted_by_one(adapters: &[PathBuf]) -> Result<Option<Mode>> {
    let noted = adapters.iter().map(|dir| noted_mode(dir));
    noted.filter_map(Result::transpose).next().transpose()
}

/// Words of GLM-4's vocabulary, by which its configuration differs from ChatGLM3's.
const GLM4_VOCABULARY: usize = 151_552;

/// What was asked for, by the flag or by a note in the directory, decides (without a tokenizer also by one in
/// an adapter); else the tokenizer; else the
/// configuration, as far as it can tell: `rope_ratio` tells nothing, long-context members of each family
/// have it.
pub fn choose_mode(
    asked: Option<Mode>,
    tokenizer: Option<&Tokenizer>,
    config: &ModelConfig,
) -> Mode {
    let by_config = || match config {
        ModelConfig::ChatGlm(_) => Mode::Glm,
        ModelConfig::ChatGlm2(config) if is_glm4(config) => Mode::Glm4,
        ModelConfig::ChatGlm2(_) => Mode::Glm3,
    };
    asked
        .or_else(|| tokenizer.map(Tokenizer::mode))
        .unwrap_or_else(by_config)
}

fn is_glm4(config: &ChatGlm2Config) -> bool {
    config.common.vocab_size == GLM4_VOCABULARY
}

/// Says what a model is taken for where only the configuration could tell and does not.
pub(super) fn note_assumed(dir: &Path, config: &ModelConfig, note: Note<'_>) {
    let ModelConfig::ChatGlm2(config) = config else {
        return;
    };
    if is_glm4(config) {
        return;
    }
    let rope = match config.rope_ratio {
        Some(_) => {
            ", whose rope_ratio multiplies the rotary base (ChatGLM2 divides positions by it)"
        }
        None => "",
    };
    note(&format!(
        "{}: no tokenizer and no --mode: taken for ChatGLM3{rope}; --mode glm2 or glm4 says otherwise",
        dir.display()
    ));
}

/// ChatGLM-6B has its own rows, positions and tokens, and the later families cannot do with them.
pub(super) fn check_architecture(dir: &Path, mode: Mode, config: &ModelConfig) -> Result<()> {
    let (name, modes) = match config {
        ModelConfig::ChatGlm(_) => ("ChatGLM-6B", "glm"),
        ModelConfig::ChatGlm2(_) => ("ChatGLM2 or later", "glm2, glm3 or glm4"),
    };
    match matches!(config, ModelConfig::ChatGlm(_)) == (mode == Mode::Glm) {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{}: a model of {name}, which --mode {mode} does not fit; give --mode {modes}",
            dir.display()
        ))),
    }
}

/// An adapter or a tuned model speaks the prompt format that it was trained with, and no other.
pub(super) fn check_trained_mode(dir: &Path, mode: Mode) -> Result<()> {
    let Some(trained) = AdapterMeta::read(dir)?.and_then(|meta| meta.mode) else {
        return Ok(());
    };
    match trained == mode.to_string() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{}: trained with --mode {trained}, but this run is in mode {mode}; give --mode {trained}",
            dir.display()
        ))),
    }
}

//! Which file of a model directory is its tokenizer.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::loaded::Loaded;
use super::mode::Mode;
use super::settings::{self, Settings};
use super::{chatglm, chatglm2, glm4, json, limits};
use crate::checkpoint::own_file;
use crate::error::{Error, Result};
use crate::files::{self, Limit};

/// Forms of a tokenizer file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// ChatGLM-6B's SentencePiece model.
    IceText,
    /// SentencePiece model or tiktoken ranks.
    Model,
    /// The `tokenizers` crate's own form.
    Json,
}

impl Form {
    fn limit(self) -> Limit {
        match self {
            Self::IceText | Self::Model => limits::MODEL_FILE,
            Self::Json => limits::JSON_FILE,
        }
    }
}

const FILES: [(&str, Form); 3] = [
    ("ice_text.model", Form::IceText),
    ("tokenizer.model", Form::Model),
    ("tokenizer.json", Form::Json),
];

/// The tokenizer file of a directory.
pub(super) fn present(dir: &Path) -> Option<(PathBuf, Form)> {
    let mut files = FILES.into_iter().map(|(name, form)| (dir.join(name), form));
    // A link that leads nowhere is there: reading it then says so.
    files.find(|(path, _)| path.symlink_metadata().is_ok())
}

/// Reads a tokenizer file.
pub(super) fn load(
    path: &Path,
    form: Form,
    mode: Option<Mode>,
    settings: &Settings,
) -> Result<Loaded<Engine>> {
    settings.refuse_text_changes()?;
    tracing::info!("tokenizer: {}", path.display());
    let bytes = files::read(path, form.limit())?;
    Ok(match form {
        Form::IceText => chatglm::load(path, &bytes, settings)?.of_any(),
        Form::Model if glm4::is_ranks(&bytes) => glm4::load(path, &bytes, settings)?.of_any(),
        Form::Model => chatglm2::load(path, &bytes, mode, settings)?.of_any(),
        Form::Json => json::load(path, &bytes, settings)?.of_any(),
    })
}

/// The files of a directory that determine its tokenizer.
pub fn tokenizer_files(dir: &Path) -> Vec<PathBuf> {
    let names = FILES.into_iter().map(|(name, _)| name);
    let paths = names.chain([settings::FILE]).map(|name| dir.join(name));
    paths.filter(|path| path.is_file()).collect()
}

/// Copies the tokenizer's files from one model directory to another; gives their names.
///
/// # Errors
/// [`Error::Io`].
pub fn copy_tokenizer_files(from: &Path, to: &Path) -> Result<Vec<String>> {
    let others = [
        settings::FILE,
        "special_tokens_map.json",
        "tokenization_chatglm.py",
    ];
    let names = FILES.into_iter().map(|(name, _)| name).chain(others);
    let mut copied = Vec::new();
    for name in names {
        let Some(source) = own_file(from, name)? else {
            continue;
        };
        let target = to.join(name);
        // By contents: a published file may be read-only, the copy need not be.
        let bytes = files::read(&source, limits::JSON_FILE)?;
        fs::write(&target, bytes).map_err(|error| Error::io(&target, error))?;
        copied.push(name.to_string());
    }
    Ok(copied)
}

//! A base model and the adapters that are put on it: an adapter is a difference to one set of weights.

use std::path::{Path, PathBuf};

use super::note::Note;
use crate::adapters::{AdapterDir, AdapterKind, AdapterMeta};
use crate::checkpoint::{Fingerprint, Likeness};
use crate::error::{Error, Result};
use crate::pretrained::holds_whole_model;

/// Refuses a path that is not a directory.
///
/// # Errors
/// [`Error::Request`] with the path.
pub fn require_directory(dir: &Path) -> Result<()> {
    match dir.is_dir() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{}: no such directory (glmtune reads local directories and downloads nothing)",
            dir.display()
        ))),
    }
}

/// Refuses a path that is not a directory, and the directory of an adapter in place of a model's.
///
/// # Errors
/// [`Error::Request`] with what would be right.
pub fn require_model(dir: &Path) -> Result<()> {
    require_directory(dir)?;
    let Ok(kind) = AdapterKind::detect(dir) else {
        return Ok(());
    };
    if holds_whole_model(dir) {
        return Ok(());
    }
    let base = AdapterDir::open(dir).ok();
    let base = base.and_then(|adapter| adapter.base_model().map(str::to_string));
    let noted = AdapterMeta::read(dir)?.and_then(|meta| meta.base_model);
    Err(Error::Request(format!(
        "{0}: holds {2}, not a model; give its base as the model: --model_name_or_path {1} --adapter {0}",
        dir.display(),
        noted.or(base).unwrap_or_else(|| "BASE".to_string()),
        kind.title(),
    )))
}

/// Checks that the adapters were trained on these weights, as far as they say on which; the path of the base
/// says nothing of its weights, and neither does another program's adapter. `note` gets what is no fault.
///
/// # Errors
/// If one was trained on others, unless `force` is given.
pub fn check_bases(base: &Path, adapters: &[PathBuf], force: bool, note: Note<'_>) -> Result<()> {
    let mut found = None;
    for adapter in adapters {
        let meta = AdapterMeta::read(adapter)?.unwrap_or_default();
        let Some(noted) = &meta.base else {
            continue;
        };
        let found = match &found {
            Some(found) => found,
            None => found.insert(Fingerprint::of(base)?),
        };
        match noted.compare(found) {
            Likeness::Same => tell_other_path(base, adapter, &meta),
            Likeness::OtherConfig(what) => note(&format!(
                "warning: {}: trained on these weights with another config.json: {what}",
                adapter.display()
            )),
            Likeness::OtherWeights if force => note(&format!(
                "warning: {}: trained on other weights than those of {} (--force)",
                adapter.display(),
                base.display()
            )),
            Likeness::OtherWeights => return Err(other_weights(base, adapter, &meta)),
        }
    }
    Ok(())
}

/// A model that was moved or copied is the same model: worth a line to who asks for one.
fn tell_other_path(base: &Path, adapter: &Path, meta: &AdapterMeta) {
    if let Some(noted) = &meta.base_model
        && Path::new(noted) != base
    {
        tracing::info!(
            "{}: trained on {noted}, which has the weights of {}",
            adapter.display(),
            base.display()
        );
    }
}

fn other_weights(base: &Path, adapter: &Path, meta: &AdapterMeta) -> Error {
    let noted = match &meta.base_model {
        Some(path) => format!(" (it was {path})"),
        None => String::new(),
    };
    Error::Request(format!(
        "{}: trained on another model than {}: the weights differ; give the model that it was trained \
         on{noted}, or --force to use it on this one",
        adapter.display(),
        base.display()
    ))
}

//! The output directory of a training: whether it can be one, who writes in it, and what becomes of what an
//! earlier run left there. Whose things are whose is told in [`folder`](super::folder).

use std::fs;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::{WriteLock, remove_stale};
use glmtune_model::process::ProcessName;
use serde_json::Value;

use super::folder::{BEST, named_outputs, set_aside};
use crate::error::{Error, Result};

/// Name of the metrics in the output directory.
const METRICS: &str = "metrics.jsonl";
/// Folders that a run writes into.
const FOLDERS: [&str; 2] = ["runs", "checkpoint"];
/// What a run writes, beside the outputs of its steps; the settings are those of the command line.
const FILES: [&str; 7] = [
    METRICS,
    "settings.toml",
    "loss.svg",
    "abilities.json",
    BEST,
    FOLDERS[0],
    FOLDERS[1],
];
/// Longest path of an output directory, in bytes: the longest that systems take, less what comes inside.
const MAX_PATH: usize = 4096 - 512;

/// An output directory that this process alone writes to.
#[derive(Debug)]
pub struct OutputDir {
    path: PathBuf,
    /// Given back before an empty directory is removed.
    lock: Option<WriteLock>,
    is_new: bool,
    removed: Vec<PathBuf>,
}

impl OutputDir {
    /// Makes the directory if it is missing, locks it, and removes what killed runs left half written.
    ///
    /// # Errors
    /// If it cannot be an output directory, or another process writes in it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        check(&path)?;
        let is_new = !path.exists();
        let mut dir = Self::of_first_process(path);
        dir.is_new = is_new;
        let path = &dir.path;
        fs::create_dir_all(path).map_err(|error| glmtune_model::Error::io(path, error))?;
        dir.lock = Some(WriteLock::of_directory(path)?);
        for folder in [path.clone(), path.join(FOLDERS[1])] {
            dir.removed.extend(remove_stale(&folder));
        }
        Ok(dir)
    }

    /// The directory that the first of several processes has opened, for the others, which write nothing.
    pub fn of_first_process(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: None,
            is_new: false,
            removed: Vec::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process that wrote in it before and ended without finishing.
    pub fn left_by(&self) -> Option<&ProcessName> {
        self.lock.as_ref()?.left_by.as_ref()
    }

    /// What killed runs left half written, and was removed.
    pub fn removed(&self) -> &[PathBuf] {
        &self.removed
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
/// into an `earlier-N`, and that is told.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn start(dir: &Path) -> Result<Option<PathBuf>> {
    let files = FILES.iter().map(|name| dir.join(name));
    let outputs = named_outputs(dir).into_iter().map(|output| output.path);
    set_aside(dir, &files.chain(outputs).collect::<Vec<_>>())
}

/// Makes the directory ready for a run that goes on: links in the place of its files are moved into an
/// `earlier-N`, and that is told.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn go_on(dir: &Path) -> Result<Option<PathBuf>> {
    let files = FILES.iter().map(|name| dir.join(name));
    let links: Vec<PathBuf> = files.filter(|path| path.is_symlink()).collect();
    set_aside(dir, &links)
}

/// Makes the directory ready for a run that is to be resumed and has no checkpoint: one that ended before
/// its first was complete starts again, and what it left is kept in an `earlier-N`.
///
/// # Errors
/// If there was one, so that more is missing than was never there; if the disk refuses.
pub(crate) fn restart(dir: &Path) -> Result<Option<PathBuf>> {
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

//! Whose the things in an output directory are, and what a run may do with them. The rules, all of them:
//!
//! 1. A run has a [`RunId`]. It stands in the `glmtune.json` of every output and in the `state.json` of every
//!    checkpoint that the run writes; `--resume` goes on under the same one.
//! 2. A run replaces and removes directories that carry its id, and nothing else: not what another run wrote,
//!    not what another program did, not what has the right name by chance.
//! 3. What stands where something of the run is to go is moved into a new `earlier-N`, never written over. So
//!    is, when a new run starts, everything there that an earlier run wrote or could have written.
//! 4. Links are never followed: a link is not an output and not a checkpoint, and what it points to is neither
//!    written nor removed.
//! 5. `--resume` without a checkpoint starts from the beginning only where none was ever complete; what is
//!    there goes into `earlier-N` then. Otherwise it is refused.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use glmtune_model::adapters::AdapterMeta;
use glmtune_model::process::ProcessName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;

/// Name of the output of the best model.
pub(crate) const BEST: &str = "best";
/// Key of the run in an output's note.
const KEY: &str = "run";

/// Tells one run from all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// The id of a new run.
    pub fn new() -> Self {
        let process = ProcessName::this();
        let moment = (SystemTime::now(), process.pid, process.host);
        // Each state has random keys of its own.
        let half = || RandomState::new().hash_one(&moment);
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// Notes the run in the note of an output.
    pub(crate) fn note(&self, meta: &mut AdapterMeta) {
        let id = Value::String(self.0.clone());
        meta.other.insert(KEY.to_string(), id);
    }

    /// Whether a directory is an output of this run.
    pub(crate) fn wrote_output(&self, dir: &Path) -> bool {
        let is_dir = dir.symlink_metadata().is_ok_and(|what| what.is_dir());
        let meta = is_dir.then(|| AdapterMeta::read(dir).ok().flatten());
        let run = meta.flatten().and_then(|meta| meta.other.get(KEY).cloned());
        run == Some(Value::String(self.0.clone()))
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

/// What has the name of an output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The step in its name.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Name of the output of a step, the epoch counted from 1.
pub fn output_name(epoch: usize, step: u64) -> String {
    format!("epoch-{epoch}-step-{step}")
}

/// Everything in a directory that has the name of an output, whoever wrote it, by steps.
pub fn named_outputs(dir: &Path) -> Vec<Named> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let (epoch, step) = name.strip_prefix("epoch-")?.split_once("-step-")?;
        epoch.parse::<usize>().ok()?;
        let step = step.parse().ok()?;
        Some(Named { step, path })
    });
    let mut named: Vec<Named> = named.collect();
    named.sort();
    named
}

/// The output of the best model in a directory, where a training has ended with it.
pub fn best_output(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(BEST);
    let is_dir = path.symlink_metadata().is_ok_and(|what| what.is_dir());
    is_dir.then_some(path)
}

/// Removes outputs of a run beyond a number of them: those of a trajectory that was left when the run went on
/// from an earlier step come first, then the oldest. That of `last`, the step just saved, stays, and so does that
/// of `best`, the step of the best validation.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn prune(
    dir: &Path,
    run: &RunId,
    (last, best): (u64, Option<u64>),
    limit: usize,
) -> Result<()> {
    let mut own = named_outputs(dir);
    own.retain(|output| run.wrote_output(&output.path));
    own.sort_by_key(|output| (output.step <= last, output.step));
    let surplus = own.len().saturating_sub(limit.max(1));
    own.retain(|output| output.step != last && Some(output.step) != best);
    for output in own.into_iter().take(surplus) {
        fs::remove_dir_all(&output.path)
            .map_err(|error| glmtune_model::Error::io(&output.path, error))?;
    }
    Ok(())
}

/// Moves what stands at a place and is not the run's own into an `earlier-N` of the output directory.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn make_way(output_dir: &Path, place: &Path, is_own: bool) -> Result<()> {
    if is_own || place.symlink_metadata().is_err() {
        return Ok(());
    }
    if let Some(earlier) = set_aside(output_dir, &[place.to_path_buf()])? {
        tracing::warn!(
            "{} is not known to be this run's; it is in {} now",
            place.display(),
            earlier.display()
        );
    }
    Ok(())
}

/// Moves things, links themselves, into a new `earlier-N` of the output directory and tells where that is;
/// nothing if none of them is there.
///
/// # Errors
/// If the disk refuses.
pub fn set_aside(output_dir: &Path, paths: &[PathBuf]) -> Result<Option<PathBuf>> {
    let present = paths.iter().filter(|path| path.symlink_metadata().is_ok());
    let present: Vec<_> = present.collect();
    if present.is_empty() {
        return Ok(None);
    }
    let earlier = new_earlier(output_dir)?;
    for path in present {
        let name = path.file_name().unwrap_or_default();
        fs::rename(path, earlier.join(name))
            .map_err(|error| glmtune_model::Error::io(path, error))?;
    }
    Ok(Some(earlier))
}

fn new_earlier(output_dir: &Path) -> Result<PathBuf> {
    let mut number = 1u64;
    loop {
        let path = output_dir.join(format!("earlier-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(glmtune_model::Error::io(&path, error).into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An output of a run, or of nobody known.
    fn output(dir: &Path, name: &str, run: Option<&RunId>) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("weights"), name).unwrap();
        if let Some(run) = run {
            let mut meta = AdapterMeta::default();
            run.note(&mut meta);
            meta.write(&path).unwrap();
        }
        path
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn ids_differ() {
        assert_ne!(RunId::new(), RunId::new());
    }

    #[test]
    fn only_the_runs_own_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let (run, other) = (RunId::new(), RunId::new());
        output(folder.path(), "epoch-1-step-1", None);
        output(folder.path(), "epoch-1-step-2", Some(&other));
        for step in [3, 4, 5] {
            output(folder.path(), &output_name(1, step), Some(&run));
        }
        fs::write(folder.path().join("epoch-1-step-6"), "a file").unwrap();
        prune(folder.path(), &run, (5, None), 2).unwrap();
        let kept = ["1", "2", "4", "5", "6"].map(|step| format!("epoch-1-step-{step}"));
        assert_eq!(names(folder.path()), kept);
    }

    /// A run that went on from an earlier step must not remove what it has just written.
    #[test]
    fn the_last_is_never_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new();
        for step in [4, 5, 20, 30] {
            output(folder.path(), &output_name(1, step), Some(&run));
        }
        prune(folder.path(), &run, (5, None), 1).unwrap();
        assert_eq!(names(folder.path()), ["epoch-1-step-5"]);
    }

    #[test]
    fn the_best_is_never_pruned() {
        for (limit, kept) in [
            (1, vec!["2", "5"]),
            (2, vec!["2", "5"]),
            (3, vec!["2", "4", "5"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let run = RunId::new();
            for step in 1..=5 {
                output(folder.path(), &output_name(1, step), Some(&run));
            }
            prune(folder.path(), &run, (5, Some(2)), limit).unwrap();
            let kept: Vec<_> = kept
                .iter()
                .map(|step| format!("epoch-1-step-{step}"))
                .collect();
            assert_eq!(names(folder.path()), kept);
        }
    }

    #[test]
    fn what_is_in_the_way_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new();
        let own = output(folder.path(), "epoch-1-step-1", Some(&run));
        let foreign = output(folder.path(), "epoch-1-step-2", None);
        for path in [&own, &foreign] {
            make_way(folder.path(), path, run.wrote_output(path)).unwrap();
        }
        assert_eq!(names(folder.path()), ["earlier-1", "epoch-1-step-1"]);
        let kept = folder.path().join("earlier-1/epoch-1-step-2/weights");
        assert_eq!(fs::read_to_string(kept).unwrap(), "epoch-1-step-2");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_nobodys_output() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new();
        let away = folder.path().join("away");
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let real = output(folder.path(), "away", Some(&run));
        let link = out.join("epoch-1-step-1");
        std::os::unix::fs::symlink("../away", &link).unwrap();
        assert!(run.wrote_output(&real));
        assert!(!run.wrote_output(&link));
        prune(&out, &run, (9, None), 1).unwrap();
        // A dangling link takes a number too.
        std::os::unix::fs::symlink("nothing", out.join("earlier-1")).unwrap();
        make_way(&out, &link, false).unwrap();
        assert_eq!(names(&out), ["earlier-1", "earlier-2"]);
        assert_eq!(names(&away), ["glmtune.json", "weights"]);
    }
}

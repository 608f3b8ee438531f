//! What `--resume` needs: trained weights, optimizer state and the place in the data, in directories that
//! appear whole or not at all.
//!
//! Dropout and the order of rows are functions of the seed and the place, so no state of a random
//! generator is kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use glmtune_model::checkpoint::{
    AtomicDir, AtomicFile, Checkpoint, DType, Existing, TensorFile, TensorInfo,
};
use glmtune_model::files::{self, Limit};
use glmtune_model::host_weights::HostWeights;
use glmtune_model::{CausalLm, GlmBackend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::optim::{Optimizer, StateTensor};
use crate::precision::LossScale;
use crate::tensors;
use crate::weights::Weights;

/// Folder of the checkpoints in an output directory.
const FOLDER: &str = "checkpoint";
/// Checkpoints that are kept, so that there is one before the last.
const KEPT: usize = 2;
/// Version of the layout.
const VERSION: u32 = 2;
const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// How far a training has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps that are done.
    pub step: u64,
    /// Those of them that changed the weights: a step that overflowed does not.
    pub updates: u64,
    /// The epoch at hand, from 0.
    pub epoch: usize,
    /// Micro-batches of that epoch that are done.
    pub micro_batch: usize,
    /// The loss scale, in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// What must be the same for a training to go on as if it had not been interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The settings that determine the course, by name.
    pub settings: Map<String, Value>,
    /// Digest of the rows.
    pub data: String,
    /// Digest of the model's configuration.
    pub model: String,
}

impl Identity {
    /// What differs from another, one line each.
    fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.settings.keys().chain(other.settings.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let show = |value: Option<&Value>| value.map_or("absent".to_string(), Value::to_string);
        let mut found: Vec<String> = names
            .into_iter()
            .filter(|name| self.settings.get(*name) != other.settings.get(*name))
            .map(|name| {
                let (was, is) = (self.settings.get(name), other.settings.get(name));
                format!("{name} was {}, is {}", show(was), show(is))
            })
            .collect();
        if self.data != other.data {
            found.push("the training rows are others".to_string());
        }
        if self.model != other.model {
            found.push("the model's config.json is another".to_string());
        }
        found
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    progress: Progress,
    identity: Identity,
    /// Size and digest of each file.
    files: BTreeMap<String, FileDigest>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileDigest {
    bytes: u64,
    sha256: String,
}

/// The checkpoints of a training.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    identity: Identity,
}

/// Which checkpoint a training goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The last one.
    Last,
    /// That of a step.
    Step(u64),
}

/// A checkpoint that was found complete.
#[derive(Debug)]
pub struct Saved {
    dir: PathBuf,
    /// Where it stands.
    pub progress: Progress,
}

impl Checkpoints {
    /// The checkpoints of a training that writes to `output_dir`.
    pub fn new(output_dir: &Path, identity: Identity) -> Self {
        Self {
            folder: output_dir.join(FOLDER),
            identity,
        }
    }

    /// The steps of the checkpoints in an output directory, in their order.
    pub fn steps(output_dir: &Path) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(output_dir.join(FOLDER)) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok());
        let mut steps: Vec<u64> = steps.collect();
        steps.sort_unstable();
        steps
    }

    /// Step and directory of the last checkpoint in an output directory.
    pub fn last(output_dir: &Path) -> Option<(u64, PathBuf)> {
        let step = *Self::steps(output_dir).last()?;
        Some((step, output_dir.join(FOLDER).join(step_name(step))))
    }

    /// Writes a checkpoint, `optimizer` being the optimizer's state, and removes those that are too old.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save<B: GlmBackend>(
        &self,
        progress: Progress,
        weights: &Weights<'_, B>,
        is_trained: &dyn Fn(&str) -> bool,
        optimizer: &[StateTensor<'_>],
    ) -> Result<()> {
        let target = self.folder.join(step_name(progress.step));
        let dir = AtomicDir::create(&target, Existing::Replace)?;
        write_weights(&dir.path().join(WEIGHTS), weights, is_trained)?;
        write_state(&dir.path().join(OPTIMIZER), optimizer)?;
        let digest = |name: &str| Ok((name.to_string(), FileDigest::of(&dir.path().join(name))?));
        let state = State {
            version: VERSION,
            progress,
            identity: self.identity.clone(),
            files: [WEIGHTS, OPTIMIZER]
                .into_iter()
                .map(digest)
                .collect::<Result<_>>()?,
        };
        let path = dir.path().join(STATE);
        let text = serde_json::to_vec_pretty(&state)
            .map_err(|error| glmtune_model::Error::json(&path, error))?;
        AtomicFile::write(&path, &text)?;
        dir.commit()?;
        self.remove_old(progress.step)
    }

    /// Checkpoints of later steps belong to a course that was left when the run went on from an earlier one.
    fn remove_old(&self, last: u64) -> Result<()> {
        let Some(output_dir) = self.folder.parent() else {
            return Ok(());
        };
        let (mut kept, later): (Vec<u64>, Vec<u64>) = Self::steps(output_dir)
            .into_iter()
            .partition(|&step| step <= last);
        let old = kept.len().saturating_sub(KEPT);
        for step in kept.drain(..old).chain(later) {
            let dir = self.folder.join(step_name(step));
            fs::remove_dir_all(&dir).map_err(|error| glmtune_model::Error::io(&dir, error))?;
        }
        Ok(())
    }

    /// Finds the checkpoint to go on from; `None` if there is none at all.
    ///
    /// # Errors
    /// If it is damaged or was made by other settings, with the reason, and with the one before it if that
    /// can be used.
    pub fn find(&self, resume: Resume) -> Result<Option<Saved>> {
        let steps = match self.folder.parent() {
            Some(output_dir) => Self::steps(output_dir),
            None => Vec::new(),
        };
        let step = match resume {
            Resume::Last => steps.last().copied(),
            Resume::Step(step) if steps.contains(&step) => Some(step),
            Resume::Step(step) => {
                let known: Vec<String> = steps.iter().map(u64::to_string).collect();
                return Err(Error::Request(format!(
                    "{}: no checkpoint of step {step}; there are: {}",
                    self.folder.display(),
                    if known.is_empty() {
                        "none".to_string()
                    } else {
                        known.join(", ")
                    }
                )));
            }
        };
        let Some(step) = step else {
            return Ok(None);
        };
        self.check(step).map(Some).map_err(|reason| {
            let before = steps.iter().rev().find(|&&other| other < step);
            let offer = match before.filter(|&&before| self.check(before).is_ok()) {
                Some(before) => format!(
                    "\n  the one before it is complete: go on from it with --resume {before}"
                ),
                None => String::new(),
            };
            let dir = self.folder.join(step_name(step));
            Error::Request(format!("{}: {reason}{offer}", dir.display()))
        })
    }

    /// The checkpoint of a step if it can be used, else why not.
    fn check(&self, step: u64) -> std::result::Result<Saved, String> {
        let dir = self.folder.join(step_name(step));
        let state: State =
            files::read_json(&dir.join(STATE), Limit::STATE).map_err(|error| error.to_string())?;
        if state.version != VERSION {
            return Err(format!(
                "written in layout {}, this glmtune reads {VERSION}",
                state.version
            ));
        }
        let differences = state.identity.differences(&self.identity);
        if !differences.is_empty() {
            return Err(format!(
                "made by another training:\n    {}",
                differences.join("\n    ")
            ));
        }
        for name in [WEIGHTS, OPTIMIZER] {
            let found = FileDigest::of(&dir.join(name)).map_err(|error| error.to_string())?;
            match state.files.get(name) {
                Some(expected) if *expected == found => {}
                Some(expected) if expected.bytes != found.bytes => {
                    return Err(format!(
                        "{name} is truncated or damaged: {} bytes, expected {}",
                        found.bytes, expected.bytes
                    ));
                }
                _ => return Err(format!("{name} is damaged: its digest differs")),
            }
        }
        Ok(Saved {
            dir,
            progress: state.progress,
        })
    }
}

impl Saved {
    /// Puts the trained weights into a model.
    ///
    /// # Errors
    /// If the file does not fit the model.
    pub fn restore_weights<B: GlmBackend>(
        &self,
        model: CausalLm<Autodiff<B>>,
        host: &mut HostWeights,
    ) -> Result<CausalLm<Autodiff<B>>> {
        tensors::restore(
            model,
            host,
            &Checkpoint::open_file(&self.dir.join(WEIGHTS))?,
        )
    }

    /// Puts the trained weights, as masters, and the optimizer's state into an optimizer, wherever the one
    /// that was saved had them.
    ///
    /// # Errors
    /// If the file is not a state of this optimizer.
    pub fn restore_optimizer<B: GlmBackend>(
        &self,
        optimizer: &mut dyn Optimizer<B>,
        device: &B::Device,
    ) -> Result<()> {
        let weights = Checkpoint::open_file(&self.dir.join(WEIGHTS))?;
        for info in weights.entries() {
            optimizer.set_master(&info.name, weights.read_as(&info.name, DType::F32)?);
        }
        let file = Checkpoint::open_file(&self.dir.join(OPTIMIZER))?;
        let names = file.entries().map(|info| info.name.clone()).collect();
        optimizer.restore(names, &|name| Ok(file.read(name)?), device)
    }
}

impl FileDigest {
    fn of(path: &Path) -> Result<Self> {
        let failed = |error| glmtune_model::Error::io(path, error);
        let (mut file, _) = files::open_regular(path)?;
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
            bytes += read as u64;
        }
        Ok(Self {
            bytes,
            sha256: hex(&digest.finalize()),
        })
    }
}

/// Digest of a file, as hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn file_digest(path: &Path) -> Result<String> {
    Ok(FileDigest::of(path)?.sha256)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn step_name(step: u64) -> String {
    format!("step-{step}")
}

/// The trained weights, float32, one at a time.
fn write_weights<B: GlmBackend>(
    path: &Path,
    weights: &Weights<'_, B>,
    is_trained: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let infos = weights.infos().into_iter();
    let infos = infos.filter(|info| is_trained(&info.path));
    let infos = infos.map(|info| TensorInfo::new(info.path, DType::F32, info.shape));
    let mut file = TensorFile::create(path, infos.collect())?;
    weights.visit(&mut |path, data| {
        if is_trained(path) {
            let data = data().convert_dtype(burn::tensor::DType::F32);
            file.write(path, &data.bytes)?;
        }
        Ok(())
    })?;
    Ok(file.commit()?)
}

/// An optimizer's state, one tensor at a time.
fn write_state(path: &Path, state: &[StateTensor<'_>]) -> Result<()> {
    let infos = state.iter().map(|tensor| tensor.info.clone());
    let mut file = TensorFile::create(path, infos.collect())?;
    for tensor in state {
        file.write(&tensor.info.name, &(tensor.fetch)())?;
    }
    Ok(file.commit()?)
}

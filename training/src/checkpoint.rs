//! What `--resume` needs: trained weights, optimizer state and the place in the data, in directories that
//! appear whole or not at all. Whose they are and what is kept: [`crate::saving::folder`].
//!
//! Dropout and the order of rows are functions of the seed and the place, so no state of a random
//! generator is kept.

pub(crate) mod contents;
mod identity;
mod progress;
mod state;

pub use identity::Identity;
pub use progress::{Extent, TrainingProgress};

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use glmtune_model::checkpoint::{
    AtomicDir, AtomicFile, Checkpoint, DType, Existing, TensorFile, TensorInfo,
};
use glmtune_model::files::{self, Limit};
use glmtune_model::host_weights::HostWeights;
use glmtune_model::parameters::ParameterInfo;
use glmtune_model::{CausalLm, GlmBackend};

use self::state::{FileDigest, State};
use crate::error::{Error, Result};
use crate::optim::{FIRST, Optimizer, SECOND, StateTensor};
use crate::saving::{RunId, folder};
use crate::tensors;
use crate::weights::Weights;

/// Folder of the checkpoints in an output directory.
const FOLDER: &str = "checkpoint";
/// Checkpoints that are kept, so that there is one before the last.
const KEPT: usize = 2;
const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// The checkpoints of a training.
#[derive(Debug)]
pub struct Checkpoints {
    output_dir: PathBuf,
    folder: PathBuf,
    identity: Identity,
    extent: Extent,
    run: RunId,
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
    /// The run that wrote it.
    pub run: RunId,
    /// Where it stands.
    pub progress: TrainingProgress,
}

impl Checkpoints {
    /// The checkpoints of a run that writes to `output_dir`.
    pub fn new(output_dir: &Path, identity: Identity, extent: Extent, run: RunId) -> Self {
        Self {
            output_dir: output_dir.to_path_buf(),
            folder: output_dir.join(FOLDER),
            identity,
            extent,
            run,
        }
    }

    /// From here on, writes under the run of a checkpoint that is gone on from.
    pub fn go_on(&mut self, saved: &Saved) {
        self.run = saved.run.clone();
    }

    /// The steps of the checkpoints in an output directory, in their order.
    pub fn steps(output_dir: &Path) -> Vec<u64> {
        let folder = output_dir.join(FOLDER);
        if !is_directory(&folder) {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let dirs = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let steps = dirs.filter(|dir| is_directory(dir)).filter_map(|dir| {
            let name = dir.file_name()?.to_str()?;
            let step = name.strip_prefix("step-")?.parse().ok()?;
            (name == step_name(step)).then_some(step)
        });
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
        progress: TrainingProgress,
        weights: &Weights<'_, B>,
        is_trained: &dyn Fn(&str) -> bool,
        optimizer: &[StateTensor<'_>],
    ) -> Result<()> {
        let target = self.folder.join(step_name(progress.step));
        self.make_way()?;
        let dir = AtomicDir::create(&target, Existing::Replace)?;
        write_weights(&dir.path().join(WEIGHTS), weights, is_trained)?;
        write_state(&dir.path().join(OPTIMIZER), optimizer)?;
        let digest = |name: &str| Ok((name.to_string(), FileDigest::of(&dir.path().join(name))?));
        let files = [WEIGHTS, OPTIMIZER].into_iter().map(digest);
        let (run, identity) = (self.run.clone(), self.identity.clone());
        let state = State::new(run, progress, identity, files.collect::<Result<_>>()?);
        let path = dir.path().join(STATE);
        let text = state.signed();
        let text = text.map_err(|error| glmtune_model::Error::json(&path, error))?;
        AtomicFile::write(&path, text.as_bytes())?;
        dir.commit()?;
        tracing::info!("checkpoint: {}", target.display());
        let best = progress.validation.and_then(|standing| standing.best);
        self.remove_old(progress.step, best.map(|best| best.step))
    }

    /// Moves away what stands in the place of the run's checkpoints and is not its own.
    fn make_way(&self) -> Result<()> {
        folder::make_way(&self.output_dir, &self.folder, is_directory(&self.folder))?;
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(());
        };
        let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in entries.filter(|path| is_checkpoint_name(path)) {
            folder::make_way(&self.output_dir, &path, self.wrote(&path))?;
        }
        Ok(())
    }

    /// Whether a directory is a checkpoint of this run.
    fn wrote(&self, dir: &Path) -> bool {
        is_directory(dir) && read_state(dir).is_ok_and(|state| state.run == self.run)
    }

    /// Checkpoints of later steps belong to a trajectory that was left when the run went on from an earlier one.
    /// That of the best validation stays, however old.
    fn remove_old(&self, last: u64, best: Option<u64>) -> Result<()> {
        let (mut kept, later): (Vec<u64>, Vec<u64>) = Self::steps(&self.output_dir)
            .into_iter()
            .filter(|&step| self.wrote(&self.folder.join(step_name(step))))
            .partition(|&step| step <= last);
        let old = kept.len().saturating_sub(KEPT);
        let removed = kept.drain(..old).chain(later);
        for step in removed.filter(|&step| Some(step) != best) {
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
        let steps = Self::steps(&self.output_dir);
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
        let state = read_state(&dir)?;
        let differences = state.identity.differences(&self.identity);
        if !differences.is_empty() {
            return Err(format!(
                "made by another training:\n    {}",
                differences.join("\n    ")
            ));
        }
        let progress = state.progress;
        if progress.step != step {
            return Err(format!("{STATE} is of step {}", progress.step));
        }
        if let Some(fault) = progress.fault(&self.extent) {
            return Err(format!("{STATE}: {fault}"));
        }
        for name in [WEIGHTS, OPTIMIZER] {
            let expected = state.files.get(name);
            let expected = expected.ok_or_else(|| format!("{STATE} does not vouch for {name}"))?;
            if let Some(fault) = expected.fault(&dir.join(name)) {
                return Err(fault);
            }
        }
        Ok(Saved {
            dir,
            run: state.run,
            progress,
        })
    }
}

impl Saved {
    /// Puts the trained weights into a model, of which these parameters are trained.
    ///
    /// # Errors
    /// If a file lacks what such a training needs, with its name, or holds anything else.
    pub fn restore_weights<B: GlmBackend>(
        &self,
        model: CausalLm<Autodiff<B>>,
        host: &mut HostWeights,
        trained: &[ParameterInfo],
    ) -> Result<CausalLm<Autodiff<B>>> {
        self.check(trained)?;
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
            optimizer.set_master(&info.name, contents::read(&weights, &info.name, f32::MIN)?);
        }
        let file = Checkpoint::open_file(&self.dir.join(OPTIMIZER))?;
        let names = file.entries().map(|info| info.name.clone()).collect();
        let read = |name: &str| contents::read(&file, name, least_moment(name));
        optimizer.restore(names, &read, device)
    }

    /// Whether the files hold what a training of these parameters needs, no more and no less.
    ///
    /// # Errors
    /// With the names of what is missing or odd.
    fn check(&self, trained: &[ParameterInfo]) -> Result<()> {
        let weights = Checkpoint::open_file(&self.dir.join(WEIGHTS))?;
        contents::check(&weights, trained, &[])?;
        let moments = Checkpoint::open_file(&self.dir.join(OPTIMIZER))?;
        // Before the first update there may be no moments yet.
        match self.progress.updates == 0 && moments.entries().next().is_none() {
            true => Ok(()),
            false => contents::check(&moments, trained, &[FIRST, SECOND]),
        }
    }
}

/// The least value that a moment can have: a mean of squares is not negative.
fn least_moment(name: &str) -> f32 {
    match name.starts_with(&format!("{SECOND}.")) {
        true => 0.0,
        false => f32::MIN,
    }
}

/// Whether a directory, and no link to one, is there.
fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|what| what.is_dir())
}

/// Whether something has the name of a checkpoint.
fn is_checkpoint_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("step-"))
}

/// The signed state of a checkpoint's directory.
fn read_state(dir: &Path) -> std::result::Result<State, String> {
    let text = files::read(&dir.join(STATE), Limit::STATE).map_err(|error| error.to_string())?;
    State::parse(&text).map_err(|reason| format!("{STATE}: {reason}"))
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
            let data = data()?.convert_dtype(burn::tensor::DType::F32);
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
        file.write(&tensor.info.name, &(tensor.fetch)()?)?;
    }
    Ok(file.commit()?)
}

//! What a training leaves behind: adapters or whole models that PEFT, the published code and glmtune load.

pub mod folder;
pub(crate) mod output_dir;

pub use folder::RunId;
pub use output_dir::OutputDir;

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use glmtune_model::adapters::{AdapterMeta, AdapterOutput, Destination, FileFormat};
use glmtune_model::checkpoint::{
    AtomicDir, AtomicFile, Existing, ShardPlan, ShardWriter, TensorInfo, copy_side_files,
};
use glmtune_model::files::read_object;
use glmtune_model::tokenizer::copy_tokenizer_files;
use glmtune_model::{FloatType, GlmBackend};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::method::OutputKind;
use crate::weights::Weights;

/// Writes the outputs of a training.
#[derive(Debug)]
pub struct Outputs {
    /// The output directory.
    pub dir: PathBuf,
    /// The run that writes them.
    pub run: RunId,
    /// The base model's directory.
    pub base: PathBuf,
    /// What each output holds.
    pub kind: OutputKind,
    /// What is noted beside it.
    pub meta: AdapterMeta,
    /// Type of the weights of a whole model.
    pub dtype: DType,
    /// Format of an adapter's weights.
    pub format: FileFormat,
    /// Whether an adapter gets the base's tokenizer files; a whole model always does.
    pub with_tokenizer: bool,
    /// Largest file of a whole model, in bytes.
    pub max_shard_size: u64,
    /// Outputs that are kept.
    pub limit: Option<usize>,
}

impl Outputs {
    /// Writes `epoch-{epoch}-step-{step}`, the epoch counted from 1, and removes the run's outputs beyond the
    /// limit, but for that of the step that is the best.
    ///
    /// # Errors
    /// If the disk refuses or the base's files cannot be read.
    pub fn save<B: GlmBackend>(
        &self,
        epoch: usize,
        step: u64,
        best: Option<u64>,
        weights: &Weights<'_, B>,
    ) -> Result<PathBuf> {
        let target = self.write(self.path(epoch, step), weights)?;
        if let Some(limit) = self.limit {
            folder::prune(&self.dir, &self.run, (step, best), limit)?;
        }
        Ok(target)
    }

    /// Writes the output of the best model.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub(crate) fn save_best<B: GlmBackend>(&self, weights: &Weights<'_, B>) -> Result<PathBuf> {
        self.write(self.best_path(), weights)
    }

    /// Whether an output reads a parameter.
    pub(crate) fn reads(&self, path: &str) -> bool {
        match &self.kind {
            OutputKind::Adapter(adapter) => adapter.kind.owns(path),
            OutputKind::Model => true,
        }
    }

    /// Where the output of the best model goes.
    pub(crate) fn best_path(&self) -> PathBuf {
        self.dir.join(folder::BEST)
    }

    /// Writes an output. What stands there and is not the run's own is moved away.
    fn write<B: GlmBackend>(&self, target: PathBuf, weights: &Weights<'_, B>) -> Result<PathBuf> {
        folder::make_way(&self.dir, &target, self.run.wrote_output(&target))?;
        let dir = AtomicDir::create(&target, Existing::Replace)?;
        match &self.kind {
            OutputKind::Adapter(adapter) => self.write_adapter(dir.path(), adapter, weights)?,
            OutputKind::Model => self.write_model(dir.path(), weights)?,
        }
        if self.with_tokenizer {
            copy_tokenizer_files(&self.base, dir.path())?;
        }
        let mut meta = self.meta.clone();
        self.run.note(&mut meta);
        meta.write(dir.path())?;
        dir.commit()?;
        tracing::info!("output: {}", target.display());
        Ok(target)
    }

    /// Where the output of a step goes.
    pub fn path(&self, epoch: usize, step: u64) -> PathBuf {
        self.dir.join(folder::output_name(epoch, step))
    }

    fn write_adapter<B: GlmBackend>(
        &self,
        dir: &Path,
        adapter: &AdapterOutput,
        weights: &Weights<'_, B>,
    ) -> Result<()> {
        let parameters = weights.chosen(&|path| adapter.kind.owns(path))?;
        let destination = Destination {
            dir,
            base: &self.base,
            base_model: self.meta.base_model.as_deref(),
            format: self.format,
        };
        Ok(adapter.write(destination, &parameters)?)
    }

    fn write_model<B: GlmBackend>(&self, dir: &Path, weights: &Weights<'_, B>) -> Result<()> {
        copy_side_files(&self.base, dir)?;
        let mut config = read_config(&self.base)?;
        let dtype = FloatType::try_from(self.dtype)?;
        dtype.write_to(&mut config);
        let path = dir.join("config.json");
        let text = serde_json::to_vec_pretty(&config)
            .map_err(|error| glmtune_model::Error::json(&path, error))?;
        AtomicFile::write(&path, &text)?;
        let infos = weights.infos().into_iter();
        let infos = infos.map(|info| TensorInfo::new(info.path, dtype.into(), info.shape));
        let mut writer = ShardWriter::create(dir, ShardPlan::new(infos, self.max_shard_size)?)?;
        weights.visit(&mut |path, data| {
            Ok(writer.write(path, &data()?.convert_dtype(self.dtype).bytes)?)
        })?;
        Ok(writer.finish()?)
    }
}

/// A model directory's `config.json`, with the order of its keys.
fn read_config(dir: &Path) -> Result<Map<String, Value>> {
    Ok(read_object(&dir.join("config.json"))?)
}

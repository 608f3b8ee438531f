//! What a training leaves behind: adapters or whole models that PEFT, the published code and glmtune load.

pub mod folder;
pub(crate) mod output_dir;

pub use folder::RunId;
pub use output_dir::OutputDir;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use glmtune_model::adapters::{
    AdapterKind, AdapterMeta, FileFormat, LoraConfig, write_lora_adapter, write_prefix_adapter,
};
use glmtune_model::checkpoint::{
    AtomicDir, AtomicFile, Existing, RawTensor, ShardPlan, ShardWriter, TensorInfo, copy_side_files,
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
    /// limit. What stands there and is not the run's own is moved away.
    ///
    /// # Errors
    /// If the disk refuses or the base's files cannot be read.
    pub fn save<B: GlmBackend>(
        &self,
        epoch: usize,
        step: u64,
        weights: &Weights<'_, B>,
    ) -> Result<PathBuf> {
        let target = self.path(epoch, step);
        folder::make_way(&self.dir, &target, self.run.wrote_output(&target))?;
        let dir = AtomicDir::create(&target, Existing::Replace)?;
        match &self.kind {
            OutputKind::Lora(config) => self.write_lora(dir.path(), config, weights)?,
            OutputKind::Prefix {
                pre_seq_len,
                prefix_projection,
            } => self.write_prefix(dir.path(), *pre_seq_len, *prefix_projection, weights)?,
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
        if let Some(limit) = self.limit {
            folder::prune(&self.dir, &self.run, step, limit)?;
        }
        Ok(target)
    }

    /// Where the output of a step goes.
    pub fn path(&self, epoch: usize, step: u64) -> PathBuf {
        self.dir.join(folder::output_name(epoch, step))
    }

    fn write_lora<B: GlmBackend>(
        &self,
        dir: &Path,
        config: &LoraConfig,
        weights: &Weights<'_, B>,
    ) -> Result<()> {
        let found = weights.chosen(&|path| AdapterKind::Lora.owns(path))?;
        let mut found: HashMap<String, RawTensor> = found.into_iter().collect();
        let mut factor =
            |module: &str, name: &str| found.remove(&format!("{module}.lora.{name}.weight"));
        let factors: Vec<(String, RawTensor, RawTensor)> = weights
            .model()
            .clone()
            .projections_mut()
            .into_iter()
            .filter_map(|(path, _)| {
                let (a, b) = (factor(&path, "lora_A")?, factor(&path, "lora_B")?);
                Some((path, a, b))
            })
            .collect();
        let factors: Vec<(&str, RawTensor, RawTensor)> = factors
            .iter()
            .map(|(path, a, b)| (path.as_str(), a.clone(), b.clone()))
            .collect();
        let mut config = config.clone();
        config.base_model.clone_from(&self.meta.base_model);
        Ok(write_lora_adapter(dir, &config, &factors, self.format)?)
    }

    fn write_prefix<B: GlmBackend>(
        &self,
        dir: &Path,
        pre_seq_len: usize,
        prefix_projection: bool,
        weights: &Weights<'_, B>,
    ) -> Result<()> {
        let tensors = weights.chosen(&|path| AdapterKind::Prefix.owns(path))?;
        let tensors: Vec<(&str, RawTensor)> = tensors
            .iter()
            .map(|(path, raw)| (path.as_str(), raw.clone()))
            .collect();
        let config = read_config(&self.base)?;
        Ok(write_prefix_adapter(
            dir,
            &config,
            pre_seq_len,
            prefix_projection,
            &tensors,
            self.format,
        )?)
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
            Ok(writer.write(path, &data().convert_dtype(self.dtype).bytes)?)
        })?;
        Ok(writer.finish()?)
    }
}

/// A model directory's `config.json`, with the order of its keys.
fn read_config(dir: &Path) -> Result<Map<String, Value>> {
    Ok(read_object(&dir.join("config.json"))?)
}

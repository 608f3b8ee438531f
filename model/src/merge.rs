//! Folding adapters into the weights of a model directory: `W + Σ ΔW`, for LoRA `ΔW = scaling·B·A`.
//!
//! No model is built and no backend is needed: tensors are read, changed and written one at a time, so
//! that a model of any size takes the memory of its largest tensor. Names and layout stay as they are.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::adapters::{AdapterDir, AdapterKind, Site, WeightDelta};
use crate::checkpoint::{
    Checkpoint, DType, RawTensor, ShardPlan, ShardWriter, TensorInfo, copy_side_files, write_json,
};
use crate::error::{Error, Result, WeightFault};
use crate::files::read_object;
use crate::float_type::FloatType;
use crate::pretrained::is_buffer;

/// File of a model's settings.
const CONFIG: &str = "config.json";

/// Called before each tensor with its name, its index and the number of tensors; may ask to stop.
pub type MergeProgress<'a> = &'a mut dyn FnMut(&str, usize, usize) -> ControlFlow<()>;

/// A base and the adapters that are to be folded into it, known to fit each other.
#[derive(Debug)]
pub struct Merge {
    config: Map<String, Value>,
    base: Checkpoint,
    adapters: Vec<AdapterDir>,
    /// For each weight that changes, the adapter and its site there, in the order of the adapters.
    changes: HashMap<String, Vec<(usize, usize)>>,
    /// The type to write; without one, each tensor keeps its own.
    dtype: Option<DType>,
}

impl Merge {
    /// Opens base and adapters and checks that they fit; reads no weights but those of the adapters.
    /// `dtype` is the floating type to write (not f64); without it each tensor keeps the base's, but for
    /// f64, which becomes f32.
    ///
    /// An adapter that changes nothing is warned of.
    ///
    /// # Errors
    ///
    /// [`Error::Adapters`] with every module of every adapter that the base lacks or has in another shape;
    /// [`Error::Directory`] if the base is not of floats alone, or if an adapter cannot be folded; otherwise as
    /// [`Checkpoint::open`] and [`AdapterDir::open`].
    pub fn open(base: &Path, adapters: &[PathBuf], dtype: Option<DType>) -> Result<Self> {
        let config = read_object(&base.join(CONFIG))?;
        let base = Checkpoint::open(base)?;
        check_full_precision(&config, &base)?;
        let adapters = adapters
            .iter()
            .map(|dir| open_adapter(dir))
            .collect::<Result<Vec<_>>>()?;
        let changes = changes(&base, &adapters)?;
        for adapter in &adapters {
            if adapter.is_without_effect()? {
                tracing::warn!("{}: the adapter changes nothing", adapter.path().display());
            }
        }
        Ok(Self {
            config,
            base,
            adapters,
            changes,
            dtype,
        })
    }

    /// The number of weights that change.
    pub fn changed(&self) -> usize {
        self.changes.len()
    }

    /// The type of most of the written elements: what `config.json` will name.
    pub fn dtype(&self) -> DType {
        let mut counts: Vec<(DType, usize)> = Vec::new();
        for info in self.base.entries() {
            let dtype = self.written_type(info);
            match counts.iter_mut().find(|(counted, _)| *counted == dtype) {
                Some((_, count)) => *count = count.saturating_add(info.elements()),
                None => counts.push((dtype, info.elements())),
            }
        }
        let most = counts.into_iter().max_by_key(|&(_, count)| count);
        most.map_or(DType::F32, |(dtype, _)| dtype)
    }

    /// What [`Self::write`] will write, in files of at most this many bytes of data.
    ///
    /// # Errors
    ///
    /// As [`ShardPlan::new`].
    pub fn plan(&self, max_shard_size: u64) -> Result<ShardPlan> {
        let infos = self.base.entries().map(|info| {
            let dtype = self.written_type(info);
            TensorInfo::new(info.name.clone(), dtype, info.shape.clone())
        });
        ShardPlan::new(infos, max_shard_size)
    }

    /// Writes the merged model into an existing directory: what the base holds besides its weights,
    /// `config.json` with the type of the weights, then the tensors of the plan.
    ///
    /// Breaks if `progress` does; the directory is then incomplete.
    ///
    /// # Errors
    ///
    /// [`Error::Compute`] if a weight is not finite after the sum or in the type to be written;
    /// [`Error::Io`] and [`Error::Malformed`] if files cannot be read or written.
    pub fn write(
        &self,
        dir: &Path,
        plan: ShardPlan,
        progress: MergeProgress<'_>,
    ) -> Result<ControlFlow<()>> {
        copy_side_files(self.base.path(), dir)?;
        write_json(&dir.join(CONFIG), &self.written_config()?)?;
        let count = plan.tensors().count();
        let mut writer = ShardWriter::create(dir, plan)?;
        let mut index = 0;
        while let Some(info) = writer.next_tensor().cloned() {
            if progress(&info.name, index, count).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            writer.write(&info.name, &self.tensor(&info)?.bytes)?;
            index += 1;
        }
        writer.finish()?;
        Ok(ControlFlow::Continue(()))
    }

    /// The type in which a tensor of the base is written.
    fn written_type(&self, info: &TensorInfo) -> DType {
        match self.dtype {
            // A table of rounded frequencies is what it is: rounding it again would move every position.
            Some(dtype) if !is_buffer(&info.name) => dtype,
            _ if info.dtype == DType::F64 => DType::F32,
            _ => info.dtype,
        }
    }

    fn written_config(&self) -> Result<Value> {
        let mut config = self.config.clone();
        FloatType::try_from(self.dtype())?.write_to(&mut config);
        Ok(Value::Object(config))
    }

    /// A tensor of the result, in the type of `info`.
    fn tensor(&self, info: &TensorInfo) -> Result<RawTensor> {
        let tensor = match self.changes.get(&info.name) {
            Some(places) => self.merged(info, places)?,
            None => self.base.read_as(&info.name, info.dtype)?,
        };
        // What the base holds is its own affair; what is made here must be numbers.
        let is_copy = !self.changes.contains_key(&info.name)
            && self.base.get(&info.name).map(|base| base.dtype) == Some(info.dtype);
        if is_copy || tensor.is_finite() {
            return Ok(tensor);
        }
        Err(Error::Compute(format!(
            "`{}` is not finite in {}: the base or an adapter holds NaN or infinity, or values beyond the \
             range of that type (bf16 and f32 have more than f16)",
            info.name, info.dtype
        )))
    }

    /// The sum, in float32, rounded once to the type of `info`.
    fn merged(&self, info: &TensorInfo, places: &[(usize, usize)]) -> Result<RawTensor> {
        let mut weight = self.base.read_as(&info.name, DType::F32)?;
        let deltas = places
            .iter()
            .map(|&(adapter, site)| self.adapters[adapter].delta(site))
            .collect::<Result<Vec<_>>>()?;
        add_deltas(&mut weight, &deltas);
        weight.converted(info.dtype).ok_or_else(|| {
            let detail = format!("`{}` cannot be converted to {}", info.name, info.dtype);
            Error::Compute(detail)
        })
    }
}

/// Quantized weights, whose steps are larger than most deltas, take no adapter.
fn check_full_precision(config: &Map<String, Value>, base: &Checkpoint) -> Result<()> {
    let bits = config.get("quantization_bit").and_then(Value::as_u64);
    let mut integers = base.entries().filter(|info| !info.dtype.is_float());
    let found = match (bits.filter(|&bits| bits > 0), integers.next()) {
        (_, Some(info)) => {
            let more = match integers.count() {
                0 => String::new(),
                count => format!(" and {count} more tensors"),
            };
            format!("`{}` is {}{more}", info.name, info.dtype)
        }
        (Some(bits), None) => format!("config.json says `quantization_bit`: {bits}"),
        (None, None) => return Ok(()),
    };
    let detail = format!(
        "{found}: an adapter merges into the full-precision base only (f32, bf16 or f16 weights)"
    );
    Err(Error::directory(base.path(), detail))
}

fn open_adapter(dir: &Path) -> Result<AdapterDir> {
    match AdapterKind::detect(dir)?.refuses_folding() {
        Some(why) => Err(Error::directory(dir, why)),
        None => AdapterDir::open(dir),
    }
}

/// Which sites of adapters are which weight, or all that does not fit.
fn changes(
    base: &Checkpoint,
    adapters: &[AdapterDir],
) -> Result<HashMap<String, Vec<(usize, usize)>>> {
    let mut changes: HashMap<String, Vec<_>> = HashMap::new();
    let mut faults = Vec::new();
    for (number, adapter) in adapters.iter().enumerate() {
        for (index, site) in adapter.sites().iter().enumerate() {
            let weight = format!("{}.weight", site.module);
            match fault(site, base.get(&weight)) {
                Some(fault) => faults.push((adapter.path().to_path_buf(), fault)),
                None => changes.entry(weight).or_default().push((number, index)),
            }
        }
    }
    match faults.is_empty() {
        true => Ok(changes),
        false => Err(Error::Adapters {
            base: base.path().to_path_buf(),
            faults,
        }),
    }
}

fn fault(site: &Site, weight: Option<&TensorInfo>) -> Option<WeightFault> {
    let key = site.module.clone();
    let [input, output] = site.dims;
    let found = vec![output, input];
    match weight {
        None => Some(WeightFault::Unused { key }),
        Some(info) if info.shape != found => Some(WeightFault::Shape {
            key,
            found,
            expected: info.shape.clone(),
        }),
        Some(_) => None,
    }
}

/// Adds the changes to a float32 weight of shape [out, in], rows in parallel.
fn add_deltas(weight: &mut RawTensor, deltas: &[Box<dyn WeightDelta>]) {
    let in_features = weight.shape.last().copied().unwrap_or(0);
    if in_features == 0 {
        return;
    }
    weight
        .bytes
        .par_chunks_exact_mut(4 * in_features)
        .enumerate()
        .for_each_init(
            || (vec![0.0; in_features], vec![0.0; in_features]),
            |(base, sum), (row, bytes)| {
                let (values, _) = bytes.as_chunks_mut::<4>();
                for (base, bytes) in base.iter_mut().zip(values.iter()) {
                    *base = f32::from_le_bytes(*bytes);
                }
                // The deltas are summed before they meet the weight, beside which each of them is small.
                sum.fill(0.0);
                for delta in deltas {
                    delta.add_row(row, base, sum);
                }
                for (bytes, (base, sum)) in values.iter_mut().zip(base.iter().zip(sum.iter())) {
                    *bytes = (base + sum).to_le_bytes();
                }
            },
        );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::adapters::{FileFormat, LoraConfig, TargetModules, write_lora_adapter};
    use crate::checkpoint::write_safetensors;

    const MODULE: &str = "transformer.layers.0.attention.dense";

    fn raw(shape: &[usize], values: &[f32]) -> RawTensor {
        RawTensor {
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// A base of one linear layer [2, 3], its bias and a table of frequencies.
    fn base(dtype: DType) -> TempDir {
        let weight = raw(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let tensors = [
            (format!("{MODULE}.weight"), weight),
            (format!("{MODULE}.bias"), raw(&[2], &[0.5, -0.1])),
            (
                "transformer.layers.0.attention.rotary_emb.inv_freq".to_owned(),
                raw(&[2], &[1.0, 0.1]),
            ),
        ];
        let tensors = tensors.map(|(name, raw)| (name, raw.converted(dtype).unwrap()));
        let infos = tensors.iter().map(|(name, raw)| {
            let info = TensorInfo::new(name.clone(), raw.dtype, raw.shape.clone());
            (info, raw.bytes.as_slice())
        });
        let infos: Vec<_> = infos.collect();
        let dir = tempfile::tempdir().unwrap();
        write_safetensors(&dir.path().join("model.safetensors"), &infos).unwrap();
        std::fs::write(
            dir.path().join(CONFIG),
            r#"{"a": 1, "torch_dtype": "float64", "z": 2}"#,
        )
        .unwrap();
        std::fs::write(dir.path().join("tokenizer.model"), "pieces").unwrap();
        dir
    }

    /// An adapter of rank 1.
    fn adapter(alpha: f64, factors: &[(&str, &[f32], &[f32])]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let config = LoraConfig::new(1, alpha, TargetModules::names(["dense"]));
        let factors: Vec<_> = factors
            .iter()
            .map(|(module, a, b)| (*module, raw(&[1, a.len()], a), raw(&[b.len(), 1], b)))
            .collect();
        write_lora_adapter(dir.path(), &config, &factors, FileFormat::default()).unwrap();
        dir
    }

    fn open(base: &TempDir, adapters: &[&TempDir], dtype: Option<DType>) -> Result<Merge> {
        let adapters: Vec<_> = adapters
            .iter()
            .map(|dir| dir.path().to_path_buf())
            .collect();
        Merge::open(base.path(), &adapters, dtype)
    }

    fn write(merge: &Merge) -> Result<(TempDir, Checkpoint)> {
        let dir = tempfile::tempdir().unwrap();
        let plan = merge.plan(u64::MAX)?;
        let flow = merge.write(dir.path(), plan, &mut |_, _, _| ControlFlow::Continue(()))?;
        assert!(flow.is_continue());
        let checkpoint = Checkpoint::open(dir.path())?;
        Ok((dir, checkpoint))
    }

    fn read(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
        let raw = checkpoint.read_as(name, DType::F32).unwrap();
        let (values, _) = raw.bytes.as_chunks::<4>();
        values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }

    #[test]
    fn the_scaled_product_is_added() {
        let base = base(DType::F32);
        // Alpha 3, rank 1: 3 · [1, -2]ᵀ · [1, 0, 0.5].
        let first = adapter(3.0, &[(MODULE, &[1.0, 0.0, 0.5], &[1.0, -2.0])]);
        let second = adapter(0.5, &[(MODULE, &[0.0, 2.0, 0.0], &[1.0, 1.0])]);
        let weight = format!("{MODULE}.weight");
        let (_dir, merged) = write(&open(&base, &[&first], None).unwrap()).unwrap();
        assert_eq!(read(&merged, &weight), [4.0, 2.0, 4.5, -2.0, 5.0, 3.0]);
        assert_eq!(read(&merged, &format!("{MODULE}.bias")), [0.5, -0.1]);
        let (_dir, merged) = write(&open(&base, &[&first, &second], None).unwrap()).unwrap();
        assert_eq!(read(&merged, &weight), [4.0, 3.0, 4.5, -2.0, 6.0, 3.0]);
    }

    #[test]
    fn ranks_above_one_are_summed() {
        let dir = tempfile::tempdir().unwrap();
        let config = LoraConfig::new(2, 4.0, TargetModules::names(["dense"]));
        let a = raw(&[2, 3], &[1.0, 2.0, 3.0, -1.0, 0.0, 1.0]);
        let b = raw(&[2, 2], &[0.5, 1.0, 2.0, 0.25]);
        write_lora_adapter(
            dir.path(),
            &config,
            &[(MODULE, a, b)],
            FileFormat::default(),
        )
        .unwrap();
        let base = base(DType::F32);
        let (_dir, merged) = write(&open(&base, &[&dir], None).unwrap()).unwrap();
        // W + 2·B·A, B·A = [[-0.5, 1, 2.5], [1.75, 4, 6.25]].
        assert_eq!(
            read(&merged, &format!("{MODULE}.weight")),
            [0.0, 4.0, 8.0, 7.5, 13.0, 18.5]
        );
    }

    #[test]
    fn the_sum_is_rounded_once_to_the_type_asked_for() {
        let (base, weight) = (base(DType::F32), format!("{MODULE}.weight"));
        let lora = adapter(1.0, &[(MODULE, &[0.001, 0.0, 0.0], &[1.0, 1.0])]);
        for (dtype, name) in [(DType::F16, "float16"), (DType::BF16, "bfloat16")] {
            let merge = open(&base, &[&lora], Some(dtype)).unwrap();
            let (dir, merged) = write(&merge).unwrap();
            let expected = raw(&[1], &[1.001]).converted(dtype).unwrap();
            let found = merged.read(&weight).unwrap();
            assert_eq!(
                (found.dtype, &found.bytes[..2]),
                (dtype, &expected.bytes[..])
            );
            // Frequencies keep their type; the settings their order.
            let table = merged.get("transformer.layers.0.attention.rotary_emb.inv_freq");
            assert_eq!(table.unwrap().dtype, DType::F32);
            let config = read_object(&dir.path().join(CONFIG)).unwrap();
            assert_eq!(config["torch_dtype"], name);
            assert!(config.keys().eq(["a", "torch_dtype", "z"]));
            assert!(dir.path().join("tokenizer.model").exists());
        }
    }

    #[test]
    fn tensors_keep_the_type_of_the_base() {
        let lora = adapter(1.0, &[(MODULE, &[1.0, 0.0, 0.0], &[1.0, 1.0])]);
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            let base = base(dtype);
            let merge = open(&base, &[&lora], None).unwrap();
            assert_eq!(merge.dtype(), dtype);
            let (_dir, merged) = write(&merge).unwrap();
            assert!(merged.entries().all(|info| info.dtype == dtype));
        }
    }

    #[test]
    fn all_that_does_not_fit_is_named() {
        let base = base(DType::F32);
        let narrow = adapter(1.0, &[(MODULE, &[1.0, 0.0], &[1.0, 1.0])]);
        let strange = adapter(
            1.0,
            &[
                ("transformer.head", &[1.0], &[1.0]),
                ("transformer.tail", &[1.0], &[1.0]),
            ],
        );
        let error = open(&base, &[&narrow, &strange], None).expect_err("refused");
        assert!(error.is_request());
        let message = error.to_string();
        for part in ["[2, 2]", "[2, 3]", "transformer.head", "transformer.tail"] {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let base = base(DType::F32);
        let large = adapter(1.0, &[(MODULE, &[1e6, 0.0, 0.0], &[1.0, 1.0])]);
        let broken = adapter(1.0, &[(MODULE, &[f32::NAN, 0.0, 0.0], &[1.0, 1.0])]);
        assert!(write(&open(&base, &[&large], None).unwrap()).is_ok());
        for (lora, dtype) in [(&large, Some(DType::F16)), (&broken, None)] {
            let message = write(&open(&base, &[lora], dtype).unwrap()).expect_err("not finite");
            assert!(message.to_string().contains("not finite"), "{message}");
        }
    }

    #[test]
    fn a_stop_is_heeded() {
        let base = base(DType::F32);
        let lora = adapter(1.0, &[(MODULE, &[1.0, 0.0, 0.0], &[1.0, 1.0])]);
        let merge = open(&base, &[&lora], None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let plan = merge.plan(u64::MAX).unwrap();
        let stop = &mut |_: &str, index, _| match index {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        assert!(merge.write(dir.path(), plan, stop).unwrap().is_break());
        assert!(Checkpoint::open(dir.path()).is_err());
    }
}

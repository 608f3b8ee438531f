//! The factors of a LoRA adapter directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::backend::Backend;
use serde_json::{Value, json};

use super::super::folding::{Site, StoredAdapter, WeightDelta};
use super::super::format::FileFormat;
use super::super::stored::{Destination, GivenSettings, StoredForm};
use super::config::LoraConfig;
use super::delta::LoraDelta;
use super::layer::Lora;
use super::path::published;
use super::settings::{last_parts, name_exactly};
#[cfg(test)]
use crate::checkpoint::write_safetensors;
use crate::checkpoint::{Checkpoint, DType, RawTensor, TensorInfo, natural_order};
use crate::error::{Error, Result, WeightFault};
use crate::tensor_target::TensorTarget;

/// What PEFT puts before the path of a module.
const PREFIX: &str = "base_model.model.";
/// Names of the weights, in the order in which they are looked for.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// The two factors at one linear layer: `delta = scaling · B · A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// Path of the layer in the model: `transformer.encoder.layers.0.self_attention.query_key_value`.
    pub module: String,
    /// Name of A in the file, of shape [rank, in].
    pub a: String,
    /// Name of B in the file, of shape [out, rank].
    pub b: String,
    /// The rank.
    pub rank: usize,
    /// Inputs of the layer.
    pub in_features: usize,
    /// Outputs of the layer.
    pub out_features: usize,
    /// The factor of the product.
    pub scaling: f64,
}

/// A LoRA adapter directory as PEFT writes it.
#[derive(Debug)]
pub struct LoraAdapter {
    dir: PathBuf,
    config: LoraConfig,
    weights: Checkpoint,
    pairs: Vec<LoraPair>,
}

/// The weights of a directory.
pub(super) fn weights(dir: &Path) -> Result<Checkpoint> {
    Ok(LoraAdapter::open(dir)?.weights)
}

impl LoraAdapter {
    /// Opens a directory with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if the weights are missing or empty, or settings cannot be used (all of them by
    /// name); [`Error::Weights`] with every factor that is without its other half, of a wrong shape or type,
    /// or no LoRA factor at all; [`Error::Malformed`] if the file is damaged or hostile.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = LoraConfig::read(dir)?;
        let Some(path) = WEIGHTS
            .map(|name| dir.join(name))
            .into_iter()
            .find(|path| path.exists())
        else {
            let detail = format!("no weights here: looked for {}", WEIGHTS.join(" and "));
            return Err(Error::directory(dir, detail));
        };
        let weights = Checkpoint::open_file(&path)?;
        let pairs = pairs(&config, &weights).map_err(|faults| Error::Weights {
            path: path.clone(),
            faults,
        })?;
        if pairs.is_empty() {
            return Err(Error::directory(
                &path,
                "holds no LoRA factors; the adapter was saved without its weights",
            ));
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            config,
            weights,
            pairs,
        })
    }

    /// The settings.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The factors, in natural order of their modules.
    pub fn pairs(&self) -> &[LoraPair] {
        &self.pairs
    }

    /// The file of weights.
    pub fn weights(&self) -> &Checkpoint {
        &self.weights
    }

    /// Reads the factors A and B of a pair in the given floating type.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read_as`].
    pub fn read(&self, pair: &LoraPair, dtype: DType) -> Result<(RawTensor, RawTensor)> {
        let a = self.weights.read_as(&pair.a, dtype)?;
        Ok((a, self.weights.read_as(&pair.b, dtype)?))
    }

    /// The adapter of one of [`pairs`](Self::pairs).
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read_as`], or if a factor is not finite.
    pub(in crate::adapters) fn adapter<B: Backend>(
        &self,
        index: usize,
        target: &TensorTarget<'_, B>,
    ) -> Result<Lora<B>> {
        let pair = &self.pairs[index];
        let (a, b) = self.read(pair, target.stored_type())?;
        let (a, b) = (
            target.tensor(&self.dir, &pair.a, a)?,
            target.tensor(&self.dir, &pair.b, b)?,
        );
        Ok(Lora::new(a, b, pair.scaling))
    }

    fn modules(&self) -> Vec<String> {
        self.pairs.iter().map(|pair| pair.module.clone()).collect()
    }
}

impl StoredAdapter for LoraAdapter {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn facts(&self) -> Result<Vec<(&'static str, Value)>> {
        let elements = self.weights.entries().map(TensorInfo::elements);
        Ok(vec![
            ("rank", json!(self.config.rank)),
            ("alpha", json!(self.config.alpha)),
            ("modules", json!(self.pairs.len())),
            (
                "first module",
                json!(self.pairs.first().map(|pair| &pair.module)),
            ),
            ("parameters", json!(elements.fold(0, usize::saturating_add))),
            (
                "changes nothing (B·A is zero at every module)",
                json!(self.is_without_effect()?),
            ),
        ])
    }

    fn tensors(&self) -> Vec<&TensorInfo> {
        self.weights.entries().collect()
    }

    fn base_model(&self) -> Option<&str> {
        self.config.base_model.as_deref()
    }

    fn sites(&self) -> Vec<Site> {
        let sites = self.pairs.iter().map(|pair| Site {
            module: pair.module.clone(),
            dims: [pair.in_features, pair.out_features],
        });
        sites.collect()
    }

    /// Whether at every module A, B or the scaling is zero, as after a training that never reached it.
    fn is_without_effect(&self) -> Result<bool> {
        for pair in &self.pairs {
            let changes = pair.scaling != 0.0
                && !is_zero(&self.weights.read(&pair.b)?)
                && !is_zero(&self.weights.read(&pair.a)?);
            if changes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn delta(&self, site: usize) -> Result<Box<dyn WeightDelta>> {
        let pair = &self.pairs[site];
        let factors = self.read(pair, DType::F32)?;
        Ok(Box::new(LoraDelta::new(pair.rank, pair.scaling, &factors)))
    }

    fn settle(&self, given: &mut GivenSettings) {
        given.fix("lora_dim", self.config.rank);
        given.fix("lora_alpha", self.config.alpha);
        // Dropout is a matter of the training, which may choose another.
        given.suggest("lora_dropout", self.config.dropout);
        let modules = self.modules();
        let names: Vec<String> = last_parts(&modules).into_iter().collect();
        match given.list("lora_module_name") {
            Some(asked) if !name_exactly(&asked, &modules) => {
                let has = format!("it has {}", names.join(","));
                given.contradict("lora_module_name", has, asked.join(","));
            }
            _ => given.suggest("lora_module_name", names),
        }
    }

    fn stored(&self, dropout: f64) -> Arc<dyn StoredForm> {
        Arc::new(LoraConfig {
            dropout,
            ..self.config.clone()
        })
    }
}

impl StoredForm for LoraConfig {
    fn sizes(&self) -> String {
        format!("rank {}", self.rank)
    }

    fn write(
        &self,
        destination: Destination<'_>,
        parameters: &[(String, RawTensor)],
    ) -> Result<()> {
        let tensors: Vec<_> = parameters
            .iter()
            .map(|(path, tensor)| {
                let name = format!("{PREFIX}{}", published(path));
                let info = TensorInfo::new(name, tensor.dtype, tensor.shape.clone());
                (info, tensor.bytes.as_slice())
            })
            .collect();
        let format = destination.format;
        format.write(destination.dir, WEIGHTS[0], WEIGHTS[1], &tensors)?;
        let config = Self {
            base_model: destination.base_model.map(str::to_string),
            ..self.clone()
        };
        config.write_file(destination.dir)
    }
}

/// Whether all floats are zero, of either sign.
fn is_zero(tensor: &RawTensor) -> bool {
    let elements = tensor.bytes.chunks_exact(tensor.dtype.size());
    elements.map(|bytes| bytes.split_last()).all(|split| {
        split.is_none_or(|(top, rest)| top & 0x7f == 0 && rest.iter().all(|&byte| byte == 0))
    })
}

/// The most modules of an adapter: each meets the expressions of its settings.
const MAX_MODULES: usize = 16_384;
/// The longest path of a module.
const MAX_MODULE: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Factor {
    A,
    B,
}

/// Module and factor of a key, with or without the name of the adapter:
/// `base_model.model.<module>.lora_A[.default].weight`.
fn parse_key(key: &str) -> Option<(&str, Factor)> {
    let path = key.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    let parse = |marker: &str, factor| {
        let (module, name) = path.rsplit_once(marker)?;
        let named = name.is_empty()
            || (name.starts_with('.') && !name[1..].contains('.') && name.len() > 1);
        (named && !module.is_empty()).then_some((module, factor))
    };
    parse(".lora_A", Factor::A).or_else(|| parse(".lora_B", Factor::B))
}

fn pairs(
    config: &LoraConfig,
    weights: &Checkpoint,
) -> std::result::Result<Vec<LoraPair>, Vec<WeightFault>> {
    let mut faults = Vec::new();
    let mut halves: BTreeMap<&str, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for info in weights.entries() {
        match parse_key(&info.name) {
            Some((module, factor)) => {
                let half = &mut halves.entry(module).or_default()[factor as usize];
                // A second adapter in the same file: there is no telling which is meant.
                if half.replace(info).is_some() {
                    faults.push(WeightFault::Unused {
                        key: info.name.clone(),
                    });
                }
            }
            None => faults.push(WeightFault::Unused {
                key: info.name.clone(),
            }),
        }
    }
    let mut pairs = Vec::new();
    if halves.len() > MAX_MODULES || halves.keys().any(|module| module.len() > MAX_MODULE) {
        faults.extend(
            halves
                .keys()
                .filter(|module| module.len() > MAX_MODULE || halves.len() > MAX_MODULES)
                .map(|module| WeightFault::Unused {
                    key: (*module).to_owned(),
                }),
        );
        return Err(faults);
    }
    for (module, halves) in halves {
        match halves {
            [Some(a), Some(b)] => match pair(config, module, a, b) {
                Ok(pair) => pairs.push(pair),
                Err(more) => faults.extend(more),
            },
            [Some(a), None] => faults.push(WeightFault::Missing {
                key: a.name.replace(".lora_A", ".lora_B"),
            }),
            [None, Some(b)] => faults.push(WeightFault::Missing {
                key: b.name.replace(".lora_B", ".lora_A"),
            }),
            [None, None] => {}
        }
    }
    pairs.sort_by(|a, b| natural_order(&a.module, &b.module));
    if faults.is_empty() {
        Ok(pairs)
    } else {
        Err(faults)
    }
}

fn pair(
    config: &LoraConfig,
    module: &str,
    a: &TensorInfo,
    b: &TensorInfo,
) -> std::result::Result<LoraPair, Vec<WeightFault>> {
    let rank = config.rank(module);
    let mut faults = Vec::new();
    for info in [a, b] {
        if !info.dtype.is_float() {
            faults.push(WeightFault::Type {
                key: info.name.clone(),
                found: info.dtype.to_string(),
            });
        }
    }
    let in_features = a.shape.get(1).copied().unwrap_or(0);
    let out_features = b.shape.first().copied().unwrap_or(0);
    for (info, expected) in [(a, [rank, in_features]), (b, [out_features, rank])] {
        if info.shape != expected || info.elements() == 0 {
            faults.push(WeightFault::Shape {
                key: info.name.clone(),
                found: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(LoraPair {
        module: module.to_owned(),
        a: a.name.clone(),
        b: b.name.clone(),
        rank,
        in_features,
        out_features,
        scaling: config.scaling(module, rank),
    })
}

/// Writes an adapter that PEFT loads, into an existing directory: `adapter_model.safetensors` (or `.bin`), then
/// `adapter_config.json`. Each factor is given as its module's path, A of shape [rank, in] and B of
/// shape [out, rank].
///
/// # Errors
///
/// [`Error::Request`] if a module comes twice or bytes do not match a shape; [`Error::Io`] if the directory
/// cannot be written to.
pub fn write_lora_adapter(
    dir: &Path,
    config: &LoraConfig,
    factors: &[(&str, RawTensor, RawTensor)],
    format: FileFormat,
) -> Result<()> {
    let tensors: Vec<_> = factors
        .iter()
        .flat_map(|(module, a, b)| [(module, "lora_A", a), (module, "lora_B", b)])
        .map(|(module, factor, tensor)| {
            let name = format!("{PREFIX}{module}.{factor}.weight");
            (
                TensorInfo::new(name, tensor.dtype, tensor.shape.clone()),
                tensor.bytes.as_slice(),
            )
        })
        .collect();
    format.write(dir, WEIGHTS[0], WEIGHTS[1], &tensors)?;
    config.write_file(dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::pattern::TargetModules;
    use super::*;

    const MODULE: &str = "transformer.encoder.layers.0.self_attention.query_key_value";

    fn tensor(shape: [usize; 2], value: f32) -> RawTensor {
        RawTensor {
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: value.to_le_bytes().repeat(shape[0] * shape[1]),
        }
    }

    fn config() -> LoraConfig {
        LoraConfig::new(2, 6.0, TargetModules::names(["query_key_value"]))
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let factors = [(MODULE, tensor([2, 5], 1.5), tensor([3, 2], -2.0))];
        for format in [FileFormat::PyTorch, FileFormat::Safetensors] {
            write_lora_adapter(folder.path(), &config(), &factors, format).unwrap();
            assert_factors(folder.path(), &factors[0]);
        }
    }

    fn assert_factors(dir: &Path, (_, expected_a, expected_b): &(&str, RawTensor, RawTensor)) {
        let adapter = LoraAdapter::open(dir).unwrap();
        let [pair] = adapter.pairs() else {
            panic!("not one pair");
        };
        assert_eq!(
            (pair.module.as_str(), pair.rank, pair.scaling),
            (MODULE, 2, 3.0)
        );
        assert_eq!((pair.in_features, pair.out_features), (5, 3));
        let (a, b) = adapter.read(pair, DType::F32).unwrap();
        assert_eq!((&a, &b), (expected_a, expected_b));
        assert!(!adapter.is_without_effect().unwrap());
    }

    #[test]
    fn a_zero_delta_shows() {
        let folder = tempfile::tempdir().unwrap();
        let factors = [(MODULE, tensor([2, 5], 1.5), tensor([3, 2], -0.0))];
        write_lora_adapter(folder.path(), &config(), &factors, FileFormat::default()).unwrap();
        assert!(
            LoraAdapter::open(folder.path())
                .unwrap()
                .is_without_effect()
                .unwrap()
        );
    }

    #[test]
    fn keys_of_both_forms() {
        let key = |middle: &str| format!("{PREFIX}a.b.{middle}.weight");
        assert!(matches!(
            parse_key(&key("lora_A")),
            Some(("a.b", Factor::A))
        ));
        assert!(matches!(
            parse_key(&key("lora_B.default")),
            Some(("a.b", Factor::B))
        ));
        for wrong in ["lora_C", "lora_A.x.y", "lora_Ab", "lora_A."] {
            assert!(parse_key(&key(wrong)).is_none(), "{wrong}");
        }
        assert!(parse_key("a.b.lora_A.weight").is_none());
        assert!(parse_key(&format!("{PREFIX}a.lora_B.bias")).is_none());
    }

    fn faults(tensors: &[(&str, RawTensor)]) -> Vec<WeightFault> {
        let folder = tempfile::tempdir().unwrap();
        config().write_file(folder.path()).unwrap();
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| {
                let info = TensorInfo::new(*name, tensor.dtype, tensor.shape.clone());
                (info, tensor.bytes.as_slice())
            })
            .collect();
        write_safetensors(&folder.path().join(WEIGHTS[0]), &tensors).unwrap();
        match LoraAdapter::open(folder.path()) {
            Err(Error::Weights { faults, .. }) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_come_all_together() {
        let integers = RawTensor {
            dtype: DType::I32,
            ..tensor([2, 5], 0.0)
        };
        let found = faults(&[
            ("base_model.model.a.lora_A.weight", tensor([2, 5], 1.0)),
            ("base_model.model.b.lora_A.weight", tensor([3, 5], 1.0)),
            ("base_model.model.b.lora_B.weight", tensor([0, 0], 1.0)),
            ("base_model.model.c.lora_A.weight", integers),
            ("base_model.model.c.lora_B.weight", tensor([4, 2], 1.0)),
            (
                "base_model.model.c.lora_B.other.weight",
                tensor([4, 2], 1.0),
            ),
            ("base_model.model.lm_head.weight", tensor([4, 2], 1.0)),
        ]);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let all = found.join("\n");
        assert_eq!(found.len(), 6, "{all}");
        for part in [
            "missing: base_model.model.a.lora_B.weight",
            "base_model.model.b.lora_A.weight is [3, 5] in the file, [2, 5]",
            "base_model.model.b.lora_B.weight is [0, 0] in the file",
            "base_model.model.c.lora_A.weight is i32",
            "base_model.model.c.lora_B",
            "not part of the model: base_model.model.lm_head.weight",
        ] {
            assert!(all.contains(part), "{part:?} not in\n{all}");
        }
    }

    #[test]
    fn an_adapter_without_weights_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        config().write_file(folder.path()).unwrap();
        let message = LoraAdapter::open(folder.path())
            .expect_err("no file")
            .to_string();
        assert!(message.contains("adapter_model.safetensors and adapter_model.bin"));
        write_safetensors(&folder.path().join(WEIGHTS[0]), &[]).unwrap();
        let message = LoraAdapter::open(folder.path())
            .expect_err("no factors")
            .to_string();
        assert!(message.contains("without its weights"), "{message}");
    }
}

//! What tells a base model from another of its shape, from a bounded number of bytes of its files.
//!
//! An adapter is a difference to one set of weights; on others of the same shapes it computes something, and
//! that is wrong without a sign of it. A fingerprint is noted beside an adapter when it is trained, and
//! compared when it is used. It holds of every tensor a few values from its start, its middle and its end, so that it
//! sees what tuning leaves: a merged LoRA changes all of a matrix and nothing of the norms, a frozen model a few
//! blocks only. Names, not files, order the tensors: shards and formats make no difference.
//!
//! Values are compared as float32. A copy in a wider type has the very values, so that its digest is the
//! same. A copy in a narrower type has rounded ones, and a digest says nothing of how near two numbers
//! are: for that case some values are noted themselves, and those of two types agree if they
//! differ by no more than the coarser type's rounding. That cannot tell a base from one that was tuned so little
//! that rounding hides it; of one type with the noted one, the digest can.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dtype::DType;
use super::reader::Checkpoint;
use super::tensor::TensorInfo;
use super::tensor_digest::add_tensor;
use crate::adapters::AdapterKind;
use crate::digest::Digest;
use crate::error::Result;
use crate::files::read_object;

/// Values that are noted themselves.
const SAMPLE: usize = 64;
/// Keys of `config.json` that change what the same weights compute.
const ARCHITECTURE: [&str; 14] = [
    "add_bias_linear",
    "add_qkv_bias",
    "apply_residual_connection_post_layernorm",
    "hidden_size",
    "inner_hidden_size",
    "kv_channels",
    "layernorm_epsilon",
    "multi_query_attention",
    "multi_query_group_num",
    "num_attention_heads",
    "num_layers",
    "position_encoding_2d",
    "post_layer_norm",
    "rope_ratio",
];

/// What is noted of a base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The architecture: keys of `config.json`.
    pub config: Map<String, Value>,
    /// The coarsest type among the weights: `f32`, `f16`, `bf16`.
    pub dtype: String,
    /// SHA-256 of names, shapes and some values of all tensors.
    pub digest: String,
    /// A value of each of some tensors.
    pub sample: Vec<f32>,
}

/// How a base model compares with the one that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likeness {
    /// The same.
    Same,
    /// The same weights under another configuration: what differs.
    OtherConfig(String),
    /// Other weights.
    OtherWeights,
}

impl Fingerprint {
    /// The fingerprint of a model directory.
    ///
    /// # Errors
    /// If its configuration or weights cannot be read.
    pub fn of(dir: &Path) -> Result<Self> {
        let mut config = read_object(&dir.join("config.json"))?;
        config.retain(|key, value| ARCHITECTURE.contains(&key.as_str()) && !value.is_null());
        let checkpoint = Checkpoint::open(dir)?;
        let tensors: Vec<&TensorInfo> = checkpoint.entries().filter(|info| counts(info)).collect();
        let mut digest = Digest::default();
        let values = tensors
            .iter()
            .map(|info| add_tensor(&mut digest, &checkpoint, info))
            .collect::<Result<Vec<f32>>>()?;
        Ok(Self {
            config,
            dtype: coarsest(&tensors).name().to_string(),
            digest: digest.hex(),
            sample: spread(&values),
        })
    }

    /// How another fingerprint compares with this one.
    pub fn compare(&self, other: &Self) -> Likeness {
        if !self.has_weights_of(other) {
            return Likeness::OtherWeights;
        }
        let differing: Vec<String> = ARCHITECTURE
            .into_iter()
            .filter_map(|key| {
                let (noted, found) = (self.config.get(key), other.config.get(key));
                (!is_equal(noted, found))
                    .then(|| format!("`{key}` is {} and was {}", text(found), text(noted)))
            })
            .collect();
        match differing.is_empty() {
            true => Likeness::Same,
            false => Likeness::OtherConfig(differing.join(", ")),
        }
    }

    fn has_weights_of(&self, other: &Self) -> bool {
        if self.digest == other.digest {
            return true;
        }
        self.dtype != other.dtype && self.is_near(other)
    }

    /// Whether the noted values are those of another type, as far as rounding lets one see.
    fn is_near(&self, other: &Self) -> bool {
        let (a, b) = (rounding(&self.dtype), rounding(&other.dtype));
        let (relative, absolute) = (a.0.max(b.0), a.1.max(b.1));
        let near =
            |(&a, &b): (&f32, &f32)| (a - b).abs() <= relative * a.abs().max(b.abs()) + absolute;
        self.sample.len() == other.sample.len() && self.sample.iter().zip(&other.sample).all(near)
    }
}

/// Whether a tensor is one of the base's weights: not a table of the rotary embedding, which every program
/// computes anew, and no prefix.
fn counts(info: &TensorInfo) -> bool {
    let is_table = info.name.ends_with(".inv_freq");
    info.dtype.is_float() && !is_table && AdapterKind::of(&info.name).is_none()
}

/// The type with the fewest bits of fraction.
fn coarsest(tensors: &[&TensorInfo]) -> DType {
    let has = |dtype| tensors.iter().any(|info| info.dtype == dtype);
    [DType::BF16, DType::F16]
        .into_iter()
        .find(|&dtype| has(dtype))
        .unwrap_or(DType::F32)
}

/// By how much two values may differ that one of a type stands for: a share of them, and for the smallest an
/// amount. Each is twice the rounding of a value, since one that was rounded before may be rounded again.
fn rounding(dtype: &str) -> (f32, f32) {
    match dtype {
        "bf16" => (1.0 / 128.0, f32::MIN_POSITIVE),
        "f16" => (1.0 / 1024.0, 6e-8),
        _ => (0.0, 0.0),
    }
}

/// Some of many values, evenly spread.
fn spread(values: &[f32]) -> Vec<f32> {
    let count = values.len().min(SAMPLE);
    let picked = (0..count).map(|index| values[index * values.len() / count]);
    // JSON has no other numbers.
    picked
        .map(|value| if value.is_finite() { value } else { 0.0 })
        .collect()
}

fn is_equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "not given".to_string(), Value::to_string)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::tensor::RawTensor;
    use super::super::writer::{ShardPlan, ShardWriter};
    use super::*;

    const CONFIG: &str = r#"{"num_layers": 2, "layernorm_epsilon": 1e-5, "vocab_size": 9}"#;

    /// Tensors of float32 by name.
    fn tensors(seed: f32) -> Vec<(String, Vec<f32>)> {
        let names = ["b.layers.10.w", "b.layers.2.w", "a.weight", "final.norm"];
        let values = |index: usize| {
            (0..100).map(move |at| ((at * 7 + index * 31) as f32 * 0.37 + seed).sin() * 0.05)
        };
        names
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_string(), values(index).collect()))
            .collect()
    }

    fn directory(
        tensors: &[(String, Vec<f32>)],
        dtype: DType,
        shard: u64,
        config: &str,
    ) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let infos = tensors
            .iter()
            .map(|(name, values)| TensorInfo::new(name.clone(), dtype, [values.len()]));
        let plan = ShardPlan::new(infos, shard).unwrap();
        let mut writer = ShardWriter::create(folder.path(), plan).unwrap();
        while let Some(info) = writer.next_tensor().cloned() {
            let (_, values) = tensors.iter().find(|(name, _)| *name == info.name).unwrap();
            let raw = RawTensor {
                dtype: DType::F32,
                shape: info.shape.clone(),
                bytes: bytemuck::cast_slice(values).to_vec(),
            };
            writer
                .write(&info.name, &raw.converted(dtype).unwrap().bytes)
                .unwrap();
        }
        writer.finish().unwrap();
        folder
    }

    fn fingerprint(tensors: &[(String, Vec<f32>)], dtype: DType, shard: u64) -> Fingerprint {
        Fingerprint::of(directory(tensors, dtype, shard, CONFIG).path()).unwrap()
    }

    #[test]
    fn shards_and_their_order_make_no_difference() {
        let (whole, mut other) = (tensors(0.0), tensors(0.0));
        other.reverse();
        let noted = fingerprint(&whole, DType::F32, 1 << 20);
        assert_eq!(noted, fingerprint(&other, DType::F32, 400));
        let text = serde_json::to_string(&noted).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), noted);
    }

    #[test]
    fn other_types_are_compared_approximately() {
        let types = [DType::F32, DType::F16, DType::BF16];
        for noted in types {
            for found in types {
                let a = fingerprint(&tensors(0.0), noted, 1 << 20);
                let b = fingerprint(&tensors(0.0), found, 1 << 20);
                assert_eq!(a.compare(&b), Likeness::Same, "{noted} {found}");
                let c = fingerprint(&tensors(0.1), found, 1 << 20);
                assert_eq!(a.compare(&c), Likeness::OtherWeights, "{noted} {found}");
            }
        }
    }

    #[test]
    fn another_configuration_is_told_apart_from_other_weights() {
        let noted = fingerprint(&tensors(0.0), DType::F32, 1 << 20);
        let config = r#"{"num_layers": 2, "layernorm_epsilon": 1e-6}"#;
        let folder = directory(&tensors(0.0), DType::F32, 1 << 20, config);
        let found = Fingerprint::of(folder.path()).unwrap();
        let Likeness::OtherConfig(what) = noted.compare(&found) else {
            unreachable!("{:?}", noted.compare(&found));
        };
        assert!(
            what.contains("`layernorm_epsilon` is 1e-6 and was 0.00001"),
            "{what}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What tuning or merging leaves, in any tensor and however small, shows in the same type.
        #[test]
        fn a_change_all_over_one_tensor_shows(index in 0usize..4, factor in 1.001f32..2.0) {
            let noted = fingerprint(&tensors(0.0), DType::F32, 1 << 20);
            let mut changed = tensors(0.0);
            changed[index].1.iter_mut().for_each(|value| *value *= factor);
            let found = fingerprint(&changed, DType::F32, 1 << 20);
            prop_assert_eq!(noted.compare(&found), Likeness::OtherWeights);
        }
    }
}

//! The P-Tuning v2 prefix encoder of an official ptuning directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::folding::StoredAdapter;
use super::super::format::FileFormat;
use super::super::stored::{Destination, GivenSettings, StoredForm};
use super::path::PREFIX_ENCODER;
#[cfg(test)]
use crate::checkpoint::write_safetensors;
use crate::checkpoint::{Checkpoint, DType, RawTensor, TensorInfo, write_json};
use crate::error::{Error, Result, WeightFault};
use crate::files::{self, Limit, read_object};
use crate::json_settings::{self, FLAG, Form};

/// File of a model's settings, among them those of a prefix.
pub(super) const CONFIG: &str = "config.json";
/// Parameters of the encoder without a projection, and those that a projection adds.
const EMBEDDING: &str = "embedding.weight";
const PROJECTION: [&str; 4] = [
    "trans.0.weight",
    "trans.0.bias",
    "trans.2.weight",
    "trans.2.bias",
];

/// A prefix encoder as the official scripts save it: settings in `config.json`, weights alone or inside a
/// full checkpoint.
#[derive(Debug)]
pub struct PrefixAdapter {
    dir: PathBuf,
    config: Map<String, Value>,
    pre_seq_len: usize,
    prefix_projection: bool,
    weights: Checkpoint,
    tensors: Vec<TensorInfo>,
}

/// Whether a directory's `config.json` speaks of a prefix.
pub(super) fn is_in(dir: &Path) -> Result<bool> {
    let path = dir.join(CONFIG);
    let bytes = files::read_if_present(&path, Limit::SETTINGS)?;
    let settings: Option<Map<String, Value>> =
        bytes.map(|bytes| files::json(&bytes, &path)).transpose()?;
    let length = settings.as_ref().and_then(|keys| keys.get("pre_seq_len"));
    Ok(length.is_some_and(|value| !value.is_null()))
}

impl PrefixAdapter {
    /// Opens a directory with `config.json` and weights in any layout that [`Checkpoint::open`] knows. Of a
    /// full checkpoint, `transformer.prefix_encoder.*` is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if `pre_seq_len` or `prefix_projection` cannot be used, [`Error::Key`] if the length
    /// contradicts the embedding;
    /// [`Error::Weights`] with every tensor of the prefix encoder that is missing, unknown or of a wrong
    /// type; otherwise as [`Checkpoint::open`].
    pub fn open(dir: &Path) -> Result<Self> {
        let config_path = dir.join(CONFIG);
        let config = read_object(&config_path)?;
        let (pre_seq_len, prefix_projection) = read_shape(&config, &config_path)?;
        let weights = Checkpoint::open(dir)?;
        let tensors: Vec<_> = weights
            .entries()
            .filter(|info| info.name.starts_with(PREFIX_ENCODER))
            .cloned()
            .collect();
        let faults = faults(&tensors, prefix_projection);
        if !faults.is_empty() {
            return Err(Error::Weights {
                path: dir.to_path_buf(),
                faults,
            });
        }
        let adapter = Self {
            dir: dir.to_path_buf(),
            config,
            pre_seq_len,
            prefix_projection,
            weights,
            tensors,
        };
        adapter.check_rows()?;
        Ok(adapter)
    }

    /// The directory's `config.json`: the base model's, with the keys of the prefix.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The number of prefix positions.
    pub fn pre_seq_len(&self) -> usize {
        self.pre_seq_len
    }

    /// Whether an MLP follows the embedding.
    pub fn prefix_projection(&self) -> bool {
        self.prefix_projection
    }

    /// Reads one of its tensors in the given floating type.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read_as`].
    pub fn read(&self, name: &str, dtype: DType) -> Result<RawTensor> {
        self.weights.read_as(name, dtype)
    }

    fn check_rows(&self) -> Result<()> {
        let name = format!("{PREFIX_ENCODER}{EMBEDDING}");
        let rows = self
            .weights
            .get(&name)
            .and_then(|info| info.shape.first().copied());
        if rows == Some(self.pre_seq_len) {
            return Ok(());
        }
        let expected = format!("{}, the rows of `{name}`", rows.unwrap_or(0));
        Err(Error::key(
            self.dir.join(CONFIG),
            "pre_seq_len",
            self.pre_seq_len,
            expected,
        ))
    }
}

impl StoredAdapter for PrefixAdapter {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn facts(&self) -> Result<Vec<(&'static str, Value)>> {
        let elements = self.tensors.iter().map(TensorInfo::elements);
        let types: BTreeSet<&str> = self.tensors.iter().map(|info| info.dtype.name()).collect();
        let facts = json!({
            "pre_seq_len": self.pre_seq_len,
            "prefix_projection": self.prefix_projection,
            "parameters": elements.fold(0, usize::saturating_add),
            "types": types,
        });
        Ok(vec![("prefix", facts)])
    }

    fn tensors(&self) -> Vec<&TensorInfo> {
        self.tensors.iter().collect()
    }

    fn settle(&self, given: &mut GivenSettings) {
        given.fix("pre_seq_len", self.pre_seq_len);
        given.fix("prefix_projection", self.prefix_projection);
    }

    fn stored(&self, _dropout: f64) -> Arc<dyn StoredForm> {
        Arc::new(PrefixForm {
            pre_seq_len: self.pre_seq_len,
            projection: self.prefix_projection,
        })
    }
}

/// Prefix positions, and whether an MLP follows the embedding.
fn read_shape(config: &Map<String, Value>, path: &Path) -> Result<(usize, bool)> {
    let (shape, _) = json_settings::read(config, path, |keys| {
        let length = keys.require("pre_seq_len", &LENGTH).unwrap_or(1);
        (length, keys.read_or("prefix_projection", &FLAG, false))
    })?;
    Ok(shape)
}

const LENGTH: Form<usize> = Form {
    expected: "the number of prefix positions",
    read: |value| {
        let length = usize::try_from(value.as_u64()?).ok()?;
        (length > 0).then_some(length)
    },
};

/// The names, under [`PREFIX_ENCODER`], of the parameters of a prefix encoder.
fn expected_names(prefix_projection: bool) -> Vec<&'static str> {
    let mut names = vec![EMBEDDING];
    if prefix_projection {
        names.extend(PROJECTION);
    }
    names
}

fn faults(tensors: &[TensorInfo], prefix_projection: bool) -> Vec<WeightFault> {
    let mut missing = expected_names(prefix_projection);
    let mut faults = Vec::new();
    for info in tensors {
        let key = info.name.clone();
        match missing
            .iter()
            .position(|name| info.name.strip_prefix(PREFIX_ENCODER) == Some(name))
        {
            None => faults.push(WeightFault::Unused { key }),
            Some(at) => {
                missing.swap_remove(at);
                if !info.dtype.is_float() {
                    let found = info.dtype.to_string();
                    faults.push(WeightFault::Type { key, found });
                }
            }
        }
    }
    let missing = missing.into_iter().map(|name| WeightFault::Missing {
        key: format!("{PREFIX_ENCODER}{name}"),
    });
    faults.extend(missing);
    faults
}

/// Writes a prefix encoder in the official layout into an existing directory: `model.safetensors` or, for the
/// official script, `pytorch_model.bin`, with the given tensors under their full names, then `config.json`, which is `base_config` with `pre_seq_len` and
/// `prefix_projection`.
///
/// # Errors
///
/// [`Error::Weights`] if the tensors are not those of such an encoder; [`Error::Request`] if bytes do not match
/// a shape; [`Error::Io`] if the directory cannot be written to.
pub fn write_prefix_adapter(
    dir: &Path,
    base_config: &Map<String, Value>,
    pre_seq_len: usize,
    prefix_projection: bool,
    tensors: &[(&str, RawTensor)],
    format: FileFormat,
) -> Result<()> {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let info = TensorInfo::new(*name, tensor.dtype, tensor.shape.clone());
            (info, tensor.bytes.as_slice())
        })
        .collect();
    let infos: Vec<_> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let faults = faults(&infos, prefix_projection);
    if !faults.is_empty() {
        let path = dir.to_path_buf();
        return Err(Error::Weights { path, faults });
    }
    format.write(dir, "model.safetensors", "pytorch_model.bin", &tensors)?;
    let mut config = base_config.clone();
    config.insert("pre_seq_len".into(), pre_seq_len.into());
    config.insert("prefix_projection".into(), prefix_projection.into());
    write_json(&dir.join(CONFIG), &Value::Object(config))
}

/// The form in which a prefix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrefixForm {
    pub pre_seq_len: usize,
    pub projection: bool,
}

impl StoredForm for PrefixForm {
    fn sizes(&self) -> String {
        format!("{} positions", self.pre_seq_len)
    }

    fn write(
        &self,
        destination: Destination<'_>,
        parameters: &[(String, RawTensor)],
    ) -> Result<()> {
        let tensors: Vec<(&str, RawTensor)> = parameters
            .iter()
            .map(|(path, raw)| (path.as_str(), raw.clone()))
            .collect();
        write_prefix_adapter(
            destination.dir,
            &read_object(&destination.base.join(CONFIG))?,
            self.pre_seq_len,
            self.projection,
            &tensors,
            destination.format,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> RawTensor {
        RawTensor {
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: vec![1; 4 * shape.iter().product::<usize>()],
        }
    }

    fn base() -> Map<String, Value> {
        [("model_type".to_owned(), "chatglm".into())]
            .into_iter()
            .collect()
    }

    fn named(name: &str) -> String {
        format!("{PREFIX_ENCODER}{name}")
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (embedding, w0, b0) = (named(EMBEDDING), named(PROJECTION[0]), named(PROJECTION[1]));
        let (w2, b2) = (named(PROJECTION[2]), named(PROJECTION[3]));
        let tensors = [
            (embedding.as_str(), tensor(&[5, 4])),
            (&w0, tensor(&[3, 4])),
            (&b0, tensor(&[3])),
            (&w2, tensor(&[8, 3])),
            (&b2, tensor(&[8])),
        ];
        for format in [FileFormat::PyTorch, FileFormat::Safetensors] {
            write_prefix_adapter(folder.path(), &base(), 5, true, &tensors, format).unwrap();
            assert_prefix(folder.path(), &embedding, &tensors[0].1);
            let _ = std::fs::remove_file(folder.path().join("pytorch_model.bin"));
        }
    }

    fn assert_prefix(dir: &Path, embedding: &str, expected: &RawTensor) {
        let adapter = PrefixAdapter::open(dir).unwrap();
        assert_eq!(
            (adapter.pre_seq_len(), adapter.prefix_projection()),
            (5, true)
        );
        assert_eq!(adapter.config()["model_type"], "chatglm");
        assert_eq!(adapter.tensors().len(), 5);
        assert_eq!(&adapter.read(embedding, DType::F32).unwrap(), expected);
    }

    fn directory(config: &str, tensors: &[(&str, &[usize])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        let owned: Vec<_> = tensors
            .iter()
            .map(|(name, shape)| (*name, tensor(shape)))
            .collect();
        let tensors: Vec<_> = owned
            .iter()
            .map(|(name, tensor)| {
                (
                    TensorInfo::new(*name, tensor.dtype, tensor.shape.clone()),
                    &tensor.bytes[..],
                )
            })
            .collect();
        write_safetensors(&folder.path().join("model.safetensors"), &tensors).unwrap();
        folder
    }

    #[test]
    fn a_full_checkpoint_is_filtered() {
        let name = named(EMBEDDING);
        let folder = directory(
            r#"{"pre_seq_len": 5}"#,
            &[("lm_head.weight", &[2, 2]), (&name, &[5, 4])],
        );
        let adapter = PrefixAdapter::open(folder.path()).unwrap();
        assert_eq!(
            adapter.tensors(),
            [&TensorInfo::new(name, DType::F32, [5, 4])]
        );
    }

    #[test]
    fn faults_are_named() {
        let (embedding, extra) = (named(EMBEDDING), named(PROJECTION[0]));
        for (config, tensors, parts) in [
            (
                r#"{"pre_seq_len": 6}"#,
                vec![(embedding.as_str(), &[5, 4][..])],
                vec!["found 6", "expected 5"],
            ),
            (r#"{"pre_seq_len": 0}"#, vec![], vec!["`pre_seq_len`"]),
            (r#"{}"#, vec![], vec!["`pre_seq_len`"]),
            (
                r#"{"pre_seq_len": 5, "prefix_projection": 1}"#,
                vec![],
                vec!["`prefix_projection`"],
            ),
            (
                r#"{"pre_seq_len": 5}"#,
                vec![(&extra, &[5, 4])],
                vec!["not part", "trans.0", "missing", "embedding"],
            ),
            (
                r#"{"pre_seq_len": 5, "prefix_projection": true}"#,
                vec![(&embedding, &[5, 4]), (&extra, &[3, 4])],
                vec!["trans.0.bias", "trans.2.weight", "trans.2.bias"],
            ),
        ] {
            let folder = directory(config, &tensors);
            let message = PrefixAdapter::open(folder.path())
                .expect_err(config)
                .to_string();
            for part in parts {
                assert!(message.contains(part), "{message:?} lacks {part:?}");
            }
        }
    }
}

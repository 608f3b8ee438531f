//! What the answers depend on, noted beside the output: rows that were made otherwise are not mixed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use glmtune_model::ModelInfo;
use glmtune_model::adapters::AdapterKind;
use glmtune_model::checkpoint::{AtomicFile, Fingerprint};
use glmtune_model::files::{self, Limit};
use glmtune_model::generation::GenerationOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::questions::Questions;
use crate::cli::PredictArgs;
use crate::commands::error::Result;
use crate::commands::session::type_name;

/// The settings of a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where model and adapters were; what they are is told by their digests.
    #[serde(default)]
    places: Vec<String>,
    /// Rows of a batch. The numbers of a row may differ in their last bits by the batch that it is in, so that
    /// another run takes the same ones.
    #[serde(default)]
    pub batch_size: usize,
    /// What decides on the answers.
    answers: Map<String, Value>,
}

/// The file of the settings of an output.
pub fn path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".settings.json");
    output.with_file_name(name)
}

impl Settings {
    /// The settings of a command; the size of its batches is yet to be chosen.
    pub fn of(
        args: &PredictArgs,
        info: &ModelInfo,
        questions: &Questions,
        options: &GenerationOptions,
        dtype: DType,
    ) -> Result<Self> {
        let model = &args.model.model_name_or_path;
        let adapters = args.model.adapter.iter();
        let digests = adapters
            .map(|dir| AdapterKind::detect(dir)?.digest(dir))
            .collect::<Result<Vec<_>, _>>()?;
        let base = Fingerprint::of(model)?;
        let sampling = options.sampling.as_ref();
        let answers = json!({
            "model": {"weights": base.digest, "config": base.config},
            "adapters": digests,
            "mode": info.mode,
            "dtype": type_name(dtype),
            "rows": {
                "max_len": questions.limits.max_len,
                "max_src_len": questions.limits.max_src_len,
                "format": questions.format,
            },
            "max_new_tokens": options.max_new_tokens,
            "min_new_tokens": options.min_new_tokens,
            "max_length": options.max_length,
            "temperature": sampling.map(|sampling| sampling.temperature),
            "top_k": sampling.map(|sampling| sampling.top_k),
            "top_p": sampling.map(|sampling| sampling.top_p),
            "seed": sampling.map(|_| options.seed),
            "repetition_penalty": options.repetition_penalty,
            "num_return_sequences": options.num_sequences,
            "stop_ids": options.stop_ids,
        });
        Ok(Self {
            places: std::iter::once(model)
                .chain(&args.model.adapter)
                .map(|path| path.display().to_string())
                .collect(),
            batch_size: 0,
            answers: match answers {
                Value::Object(map) => map,
                _ => Map::new(),
            },
        })
    }

    /// Reads the settings of an output; nothing if there are none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = files::read_if_present(path, Limit::SETTINGS)?;
        let settings = bytes.map(|bytes| files::json(&bytes, path)).transpose()?;
        Ok(settings)
    }

    /// Writes them.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        text.push(b'\n');
        Ok(AtomicFile::write(path, &text)?)
    }

    /// How others decide on the answers otherwise, in words.
    pub fn differing(&self, found: &Self) -> Result<Vec<String>> {
        // Numbers as they are read from the file.
        let text = serde_json::to_vec(&self.answers).map_err(std::io::Error::from)?;
        let answers = serde_json::from_slice(&text).map_err(std::io::Error::from)?;
        let (mut wanted, mut before) = (BTreeMap::new(), BTreeMap::new());
        leaves(&answers, "", &mut wanted);
        leaves(&Value::Object(found.answers.clone()), "", &mut before);
        let keys = wanted
            .keys()
            .chain(before.keys().filter(|key| !wanted.contains_key(*key)));
        let word = |value: Option<&Value>| value.map_or("nothing".to_string(), Value::to_string);
        Ok(keys
            .filter(|key| wanted.get(*key) != before.get(*key))
            .map(|key| {
                let (now, then) = (wanted.get(key), before.get(key));
                format!("`{key}` was {} and is {}", word(then), word(now))
            })
            .collect())
    }
}

/// The values of an object by their paths; null counts as absent.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let path = match path {
                    "" => key.clone(),
                    _ => format!("{path}.{key}"),
                };
                leaves(value, &path, found);
            }
        }
        other => {
            found.insert(path.to_string(), other.clone());
        }
    }
}

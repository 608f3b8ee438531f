//! Adapter directories: LoRA as PEFT writes it, and the official P-Tuning v2 prefix.

mod format;
mod lora;
mod lora_config;
mod meta;
mod pattern;
mod prefix;

use std::path::Path;

use serde_json::{Map, Value};

use super::atomic::AtomicFile;
use super::reader::Checkpoint;
use crate::error::{Error, Result};
use crate::files::{self, Limit};

pub use format::FileFormat;
pub use lora::{LoraAdapter, LoraPair, write_lora_adapter};
pub use lora_config::LoraConfig;
pub use meta::AdapterMeta;
pub use pattern::{Patterns, TargetModules};
pub use prefix::{PrefixAdapter, write_prefix_adapter};

/// File of PEFT's settings.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// File of a model's settings, among them those of a prefix.
const CONFIG: &str = "config.json";

/// What an adapter directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// A PEFT directory with `adapter_config.json`.
    Lora,
    /// An official ptuning directory: `pre_seq_len` in its `config.json`.
    Prefix,
}

impl AdapterKind {
    /// Tells what a directory holds, by its settings file.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if it is neither, telling what was looked for; [`Error::Json`] if `config.json`
    /// cannot be parsed.
    pub fn detect(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::directory(dir, "not a directory; an adapter is one"));
        }
        if dir.join(ADAPTER_CONFIG).symlink_metadata().is_ok() {
            return Ok(Self::Lora);
        }
        let config = dir.join(CONFIG);
        let bytes = files::read_if_present(&config, Limit::SETTINGS)?;
        let settings: Option<Map<String, Value>> = bytes
            .map(|bytes| files::json(&bytes, &config))
            .transpose()?;
        let length = settings.as_ref().and_then(|keys| keys.get("pre_seq_len"));
        if length.is_some_and(|value| !value.is_null()) {
            return Ok(Self::Prefix);
        }
        let detail = "no adapter here: looked for `adapter_config.json` (LoRA as PEFT writes it) and for \
                      `pre_seq_len` in `config.json` (P-Tuning v2)";
        Err(Error::directory(dir, detail))
    }
}

/// Whether a directory holds a whole model: one may carry its prefix or lie beside a LoRA, while an adapter's
/// own directory holds nothing else.
pub fn holds_whole_model(dir: &Path) -> bool {
    dir.join(CONFIG).is_file()
        && Checkpoint::open(dir).is_ok_and(|checkpoint| {
            let mut names = checkpoint.entries().map(|info| info.name.as_str());
            names.any(|name| name.contains("word_embeddings"))
        })
}

/// Writes a JSON file, indented as Python's tools write theirs.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::json(path, error))?;
    bytes.push(b'\n');
    AtomicFile::write(path, &bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        let message = AdapterKind::detect(dir).expect_err("empty").to_string();
        assert!(message.contains("adapter_config.json") && message.contains("pre_seq_len"));
        put("config.json", r#"{"pre_seq_len": null}"#);
        assert!(AdapterKind::detect(dir).is_err());
        put("config.json", r#"{"pre_seq_len": 128}"#);
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Prefix);
        put("adapter_config.json", "{}");
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Lora);
        assert!(AdapterKind::detect(&dir.join("config.json")).is_err());
    }
}

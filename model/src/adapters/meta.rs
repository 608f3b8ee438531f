//! What glmtune notes in an adapter directory beside the files that other programs read.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::{Fingerprint, write_json};
use crate::error::{Error, Result};
use crate::files::{self, Limit};

/// File name of the note. PEFT warns of keys that it does not know, so it is a file of its own.
const FILE: &str = "glmtune.json";

/// glmtune's note in an adapter directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AdapterMeta {
    /// The prompt mode that the adapter was trained with: `glm`, `glm2`, `glm3`, `glm4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The base model, as it was named for the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// What tells that model from others of its shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Fingerprint>,
    /// The text that stood before every row of the training, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
    /// What a later version of glmtune noted; kept when the note is written again.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl AdapterMeta {
    /// Reads the note of a directory; nothing if it has none, as adapters from elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the file is damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let bytes = files::read_if_present(&path, Limit::SETTINGS)?;
        bytes.map(|bytes| files::json(&bytes, &path)).transpose()
    }

    /// Writes the note into an existing directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the directory cannot be written to.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let value = serde_json::to_value(self).map_err(|error| Error::json(&path, error))?;
        write_json(&path, &value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(AdapterMeta::read(folder.path()).unwrap(), None);
        let text = r#"{"mode": "glm2", "later": [1]}"#;
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let meta = AdapterMeta::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (meta.mode.as_deref(), &meta.base_model),
            (Some("glm2"), &None)
        );
        meta.write(folder.path()).unwrap();
        assert_eq!(AdapterMeta::read(folder.path()).unwrap().unwrap(), meta);
        assert!(meta.other.contains_key("later"));
    }
}

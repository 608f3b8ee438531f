//! What `tokenizer_config.json` says, as far as it decides ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{self, Limit};

pub(super) const FILE: &str = "tokenizer_config.json";

/// The keys that glmtune reads; others belong to Python.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    #[serde(skip)]
    pub(super) path: PathBuf,
    name_or_path: Option<String>,
    pub(super) num_image_tokens: Option<u32>,
    do_lower_case: Option<bool>,
    remove_space: Option<bool>,
    chat_template: Option<Value>,
    pad_token: Option<Value>,
    pub(super) added_tokens_decoder: BTreeMap<String, AddedToken>,
    additional_special_tokens: Vec<Value>,
}

/// An entry of `added_tokens_decoder`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AddedToken {
    pub(super) content: String,
}

impl Settings {
    /// Reads the file of a model directory; where there is none, every key is absent.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Json`].
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let settings: Self = match files::read_if_present(&path, Limit::SETTINGS)? {
            Some(bytes) => files::json(&bytes, &path)?,
            None => Self::default(),
        };
        Ok(Self { path, ..settings })
    }

    /// Whether the prompts of this tokenizer are made of role tokens.
    pub(super) fn has_roles(&self) -> bool {
        let added = self
            .added_tokens_decoder
            .values()
            .map(|token| token.content.as_str());
        let additional = self.additional_special_tokens.iter().filter_map(content);
        self.chat_template.is_some()
            || added.chain(additional).any(|name| name == "<|user|>")
            || self
                .name_or_path
                .as_ref()
                .is_some_and(|name| name.contains("chatglm3"))
    }

    /// The name of the padding token.
    pub(super) fn pad_token(&self) -> Option<&str> {
        self.pad_token.as_ref().and_then(content)
    }

    /// # Errors
    ///
    /// [`Error::Key`] when text is to be changed in a way that no published model asks for.
    pub(super) fn refuse_text_changes(&self) -> Result<()> {
        for (key, value) in [
            ("do_lower_case", self.do_lower_case),
            ("remove_space", self.remove_space),
        ] {
            if value == Some(true) {
                return Err(Error::key(&self.path, key, true, "false"));
            }
        }
        Ok(())
    }
}

/// A token is written as its name or as an object with its `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

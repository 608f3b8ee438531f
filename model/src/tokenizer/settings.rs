//! What `tokenizer_config.json` says, as far as it decides ids.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::limits;
use super::shown::shown;
use crate::error::{Error, Result};
use crate::files;

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
    /// Only whether there is one counts.
    chat_template: Option<IgnoredAny>,
    pad_token: Option<Name>,
    #[serde(deserialize_with = "bounded_map")]
    pub(super) added_tokens_decoder: BTreeMap<String, AddedToken>,
    additional_special_tokens: Option<Vec<Name>>,
}

/// An entry of `added_tokens_decoder`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AddedToken {
    pub(super) content: Name,
}

/// The name of a token: a string, or an object with its `content`.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token: its name, or an object with `content`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
        match name.chars().any(char::is_control) || name.len() > limits::TOKEN_BYTES {
            true => Err(E::custom(format!(
                "`{}` is not a token's name: it is too long or has control characters",
                shown(name)
            ))),
            false => Ok(Name(name.to_string())),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name, A::Error> {
        let mut name = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "content" => name = Some(map.next_value::<Name>()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        name.ok_or_else(|| A::Error::missing_field("content"))
    }
}

fn bounded_map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, AddedToken>, D::Error> {
    let tokens = BTreeMap::deserialize(deserializer)?;
    match tokens.len() <= limits::ADDED_TOKENS {
        true => Ok(tokens),
        false => Err(D::Error::custom(format!(
            "more than {} added tokens",
            limits::ADDED_TOKENS
        ))),
    }
}

impl Settings {
    /// Reads the file of a model directory; where there is none, every key is absent.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Json`].
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let settings: Self = match files::read_if_present(&path, limits::SETTINGS_FILE)? {
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
            .map(|token| token.content.0.as_str());
        let additional = self.additional_special_tokens.iter().flatten();
        let additional = additional.map(|name| name.0.as_str());
        self.chat_template.is_some()
            || added.chain(additional).any(|name| name == "<|user|>")
            || self
                .name_or_path
                .as_ref()
                .is_some_and(|name| name.contains("chatglm3"))
    }

    /// Whether the file is the published ChatGLM2's, by the name that it gives. ChatGLM3's, saved anew, may
    /// give none.
    pub(super) fn names_chatglm2(&self) -> bool {
        let names = |name: &String| name.to_lowercase().contains("chatglm2");
        !self.has_roles() && self.name_or_path.as_ref().is_some_and(names)
    }

    /// The name of the padding token.
    pub(super) fn pad_token(&self) -> Option<&str> {
        self.pad_token.as_ref().map(|name| name.0.as_str())
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

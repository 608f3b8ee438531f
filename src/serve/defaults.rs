//! How answers are drawn when a request does not say.

use std::path::Path;

use glmtune_model::Error;
use glmtune_model::files;
use serde_json::{Map, Value};

/// The file of a model directory that says how its answers are drawn.
const FILE: &str = "generation_config.json";

/// What holds when a request does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Logits are divided by it.
    pub temperature: f32,
    /// Only the likeliest tokens whose probabilities add up to this stay.
    pub top_p: f32,
    /// Only this many of the likeliest tokens stay; 0 keeps all.
    pub top_k: usize,
    /// What tokens that are already there lose.
    pub repetition_penalty: f32,
    /// Most tokens of a chat's answer.
    pub max_tokens: usize,
}

impl Default for Defaults {
    /// OpenAI's, and as many tokens as `glmtune chat` has.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            max_tokens: 2048,
        }
    }
}

impl Defaults {
    /// What a model directory's `generation_config.json` says, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or a value cannot be used.
    pub fn read(dir: &Path) -> glmtune_model::Result<Self> {
        let path = dir.join(FILE);
        let object = match files::read_object(&path) {
            Ok(object) => object,
            Err(error) if error.is_missing() => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let number = |key, most| number(&path, &object, key, most);
        let plain = Self::default();
        Ok(Self {
            temperature: number("temperature", 2.0)?.unwrap_or(plain.temperature),
            top_p: number("top_p", 1.0)?.unwrap_or(plain.top_p),
            top_k: whole(&path, &object, "top_k")?.unwrap_or(plain.top_k),
            repetition_penalty: number("repetition_penalty", 10.0)?
                .unwrap_or(plain.repetition_penalty),
            max_tokens: whole(&path, &object, "max_new_tokens")?
                .filter(|tokens| *tokens > 0)
                .unwrap_or(plain.max_tokens),
        })
    }
}

fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn number(
    path: &Path,
    object: &Map<String, Value>,
    key: &str,
    most: f64,
) -> glmtune_model::Result<Option<f32>> {
    let Some(value) = present(object, key) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(number) if number > 0.0 && number <= most => Ok(Some(number as f32)),
        _ => Err(Error::key(
            path,
            key,
            value,
            format!("a number above 0 and at most {most}"),
        )),
    }
}

fn whole(
    path: &Path,
    object: &Map<String, Value>,
    key: &str,
) -> glmtune_model::Result<Option<usize>> {
    let Some(value) = present(object, key) else {
        return Ok(None);
    };
    match value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
    {
        Some(number) => Ok(Some(number)),
        None => Err(Error::key(path, key, value, "a whole number")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> glmtune_model::Result<Defaults> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Defaults::read(dir.path())
    }

    #[test]
    fn of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Defaults::read(dir.path()).unwrap(), Defaults::default());
        // GLM-4's.
        let found =
            read(r#"{"do_sample": true, "temperature": 0.8, "max_length": 128000, "top_p": 0.8}"#);
        let expected = Defaults {
            temperature: 0.8,
            top_p: 0.8,
            ..Defaults::default()
        };
        assert_eq!(found.unwrap(), expected);
        for wrong in [
            r#"{"top_p": 2}"#,
            r#"{"temperature": "a"}"#,
            r#"{"top_k": -1}"#,
            "[]",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

//! How an adapter is stored, and how a training goes on from a stored one.

use std::fmt::Debug;
use std::path::Path;

use serde_json::{Map, Value};

use super::format::FileFormat;
use crate::checkpoint::RawTensor;
use crate::error::Result;

/// Where an adapter is written to, and what is noted with it.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// An existing directory.
    pub dir: &'a Path,
    /// The directory of the base model.
    pub base: &'a Path,
    /// What the base model is called in the adapter's settings.
    pub base_model: Option<&'a str>,
    /// Format of the weights.
    pub format: FileFormat,
}

/// Settings with which an adapter is stored.
pub trait StoredForm: Debug + Send + Sync {
    /// The sizes in a few words: `rank 8`.
    fn sizes(&self) -> String;

    /// Writes the adapter's parameters, each with its path, and its settings.
    ///
    /// # Errors
    /// If the parameters are not those of such an adapter, or the directory cannot be written to.
    fn write(&self, destination: Destination<'_>, parameters: &[(String, RawTensor)])
    -> Result<()>;
}

/// Settings that were given, and where a stored adapter contradicts them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GivenSettings {
    /// The settings by their names.
    pub values: Map<String, Value>,
    /// What the adapter has otherwise.
    pub contradictions: Vec<Contradiction>,
}

/// A setting that a stored adapter has otherwise than it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The setting.
    pub setting: &'static str,
    /// What the adapter has, as a clause: `its lora_dim is 4`.
    pub has: String,
    /// What was given.
    pub given: String,
}

impl GivenSettings {
    /// Takes what the adapter has, which cannot be changed.
    pub fn fix(&mut self, setting: &'static str, has: impl Into<Value>) {
        let has = has.into();
        let given = self.values.entry(setting).or_insert_with(|| has.clone());
        if !is_same(given, &has) {
            let (has, given) = (format!("its {setting} is {}", text(&has)), text(given));
            self.contradict(setting, has, given);
        }
    }

    /// Takes what the adapter was made with, where nothing else was given.
    pub fn suggest(&mut self, setting: &'static str, had: impl Into<Value>) {
        self.values.entry(setting).or_insert_with(|| had.into());
    }

    /// Notes a contradiction.
    pub fn contradict(&mut self, setting: &'static str, has: String, given: String) {
        self.contradictions.push(Contradiction {
            setting,
            has,
            given,
        });
    }

    /// The words of a list that was given; none if it was not.
    pub fn list(&self, setting: &str) -> Option<Vec<String>> {
        let words = self.values.get(setting)?.as_array()?.iter();
        Some(
            words
                .filter_map(|word| Some(word.as_str()?.to_string()))
                .collect(),
        )
    }
}

/// Numbers are the same whether they are written as whole ones or not.
fn is_same(given: &Value, has: &Value) -> bool {
    match (given.as_f64(), has.as_f64()) {
        (Some(given), Some(has)) => given == has,
        _ => given == has,
    }
}

fn text(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => number.to_string(),
        None => value.to_string(),
    }
}

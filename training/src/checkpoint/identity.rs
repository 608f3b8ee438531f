//! What makes a training the same one when it goes on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What must be the same for a training to go on as if it had not been interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The settings that determine the trajectory, by name.
    pub settings: Map<String, Value>,
    /// Digest of the rows.
    pub data: String,
    /// Digest of the model's configuration.
    pub model: String,
}

impl Identity {
    /// What differs from another, one line each.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.settings.keys().chain(other.settings.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let show = |value: Option<&Value>| value.map_or("absent".to_string(), Value::to_string);
        // A number that was written and read back can differ in its last bit from one that was not.
        let read_back = |value: &Value| serde_json::from_str(&value.to_string()).ok();
        let is = |name: &str| other.settings.get(name).and_then(read_back);
        let mut found: Vec<String> = names
            .into_iter()
            .filter(|name| self.settings.get(*name) != is(name.as_str()).as_ref())
            .map(|name| {
                let (was, is) = (self.settings.get(name), other.settings.get(name));
                format!("{name} was {}, is {}", show(was), show(is))
            })
            .collect();
        if self.data != other.data {
            found.push("the training rows are others".to_string());
        }
        if self.model != other.model {
            found.push("the model's config.json is another".to_string());
        }
        found
    }
}

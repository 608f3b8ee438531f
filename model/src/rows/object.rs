//! The JSON object of a row.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Keys that a message lists, and characters of a value that it quotes.
const LISTED: usize = 8;
const QUOTED: usize = 60;

/// The keys of a row that were not taken yet. On a line, a key that comes twice is refused: which one is meant?
#[derive(Debug, Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// The object of a value; what is wrong, if it is something else.
    pub fn of(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(format!("found {}, expected an object", quoted(&other))),
        }
    }

    /// Whether there is such a key with a value.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key; null counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Takes the value of a key; null counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        // In order, so that messages list keys as the file has them.
        self.0.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes the text of a key that may be absent.
    pub fn take_text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!(
                "key `{key}`: found {}, expected a string",
                quoted(&other)
            )),
        }
    }

    /// The keys that are left.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The keys that are left, for a message.
    pub fn listed_keys(&self) -> String {
        let mut names: Vec<String> = self
            .keys()
            .take(LISTED)
            .map(|key| format!("`{}`", key.escape_debug()))
            .collect();
        let more = self.0.len().saturating_sub(LISTED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        match names.is_empty() {
            true => "nothing else".to_string(),
            false => names.join(", "),
        }
    }
}

/// A value for a message, cut to a few words.
pub(super) fn quoted(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                let key = key.escape_debug();
                return Err(A::Error::custom(format_args!("key `{key}` comes twice")));
            }
            map.insert(key, access.next_value()?);
        }
        Ok(Object(map))
    }
}

//! What a JSON schema may ask for, checked before a grammar is made of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// JSON values of a schema.
const VALUES: usize = 8192;
/// Bytes of its keys and strings together.
const BYTES: usize = 256 << 10;
/// JSON values within each other.
const DEPTH: usize = 48;
/// Places that `$ref`s lead to. The engine follows a reference inside of another, as deep as all places together.
const PLACES: usize = 128;
/// JSON values within each other of all those places together.
const PLACES_DEPTH: usize = 640;
/// Bytes of a regular expression.
const PATTERN: usize = 512;
/// The most that a length or a count may be asked to be: a grammar has a part for each.
const COUNT: u64 = 4096;

/// Digits of what numbers may be asked to be multiples of: a grammar has a part for each remainder.
const DIGITS: usize = 4;

/// Keywords whose values are lengths and counts.
const COUNTS: [&str; 6] = [
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// Where the engine looks for its own settings in a schema.
const SETTINGS: &str = "x-guidance";
/// Whitespace between the parts of JSON: a space, or a line break and an indentation. A model that is not sure what comes
/// next would otherwise write spaces without end.
const WHITESPACE: &str = r"\x20|\x0A[\x20\x09]{0,32}";

/// A schema as the engine takes it. `is_lenient` lets it pass over keywords and formats that it does not know.
///
/// # Errors
/// [`Error::Request`] that says what is wrong.
pub(super) fn prepared(schema: &Value, is_lenient: bool) -> Result<Value> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => json!({}),
        Value::Bool(false) => return Err(refused("nothing satisfies the schema `false`")),
        _ => return Err(refused("a JSON schema is an object")),
    };
    Check::default().run(&schema)?;
    if let Some(map) = schema.as_object_mut() {
        let settings = json!({"whitespace_pattern": WHITESPACE, "lenient": is_lenient});
        map.insert(SETTINGS.to_string(), settings);
    }
    Ok(schema)
}

fn refused(detail: impl Into<String>) -> Error {
    Error::Request(detail.into())
}

/// What has been counted so far.
#[derive(Default)]
struct Check<'a> {
    values: usize,
    bytes: usize,
    /// The depth of every place that a reference leads to.
    places: HashMap<&'a str, usize>,
}

impl<'a> Check<'a> {
    fn run(mut self, schema: &'a Value) -> Result<()> {
        self.walk(schema, 0)?;
        let references: Vec<&str> = self.places.keys().copied().collect();
        if references.len() > PLACES {
            let count = references.len();
            return Err(refused(format!(
                "the schema has `$ref`s to {count} places: at most {PLACES} are followed"
            )));
        }
        let mut depth = 0;
        for reference in references {
            let place = place(schema, reference)?;
            depth += depth_of(place);
        }
        match depth > PLACES_DEPTH {
            true => Err(refused(format!(
                "what the schema's `$ref`s lead to is {depth} levels deep in all: at most {PLACES_DEPTH} are followed"
            ))),
            false => Ok(()),
        }
    }

    fn walk(&mut self, value: &'a Value, depth: usize) -> Result<()> {
        self.values += 1;
        if self.values > VALUES {
            return Err(refused(format!("the schema has more than {VALUES} values")));
        }
        if depth > DEPTH {
            return Err(refused(format!(
                "the schema is more than {DEPTH} levels deep"
            )));
        }
        match value {
            Value::String(text) => self.add_bytes(text),
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item, depth + 1)),
            Value::Object(map) => map.iter().try_for_each(|(key, value)| {
                self.add_bytes(key)?;
                self.keyword(key, value)?;
                self.walk(value, depth + 1)
            }),
            _ => Ok(()),
        }
    }

    fn add_bytes(&mut self, text: &str) -> Result<()> {
        self.bytes += text.len();
        match self.bytes > BYTES {
            true => Err(refused(format!(
                "the schema has more than {BYTES} bytes of text"
            ))),
            false => Ok(()),
        }
    }

    /// A property may have the name of a keyword: its value is then a schema, and none of these.
    fn keyword(&mut self, key: &'a str, value: &'a Value) -> Result<()> {
        match (key, value) {
            (SETTINGS, _) => Err(refused(format!("the key `{SETTINGS}` cannot be used"))),
            ("$ref", Value::String(reference)) => {
                self.places.insert(reference, 0);
                Ok(())
            }
            ("pattern", Value::String(pattern)) => check_pattern(pattern),
            ("patternProperties", Value::Object(patterns)) => patterns
                .keys()
                .try_for_each(|pattern| check_pattern(pattern)),
            ("multipleOf", Value::Number(number)) => match digits(&number.to_string()) <= DIGITS {
                true => Ok(()),
                false => Err(refused(format!(
                    "`multipleOf` is {number}: expected a number of at most {DIGITS} digits"
                ))),
            },
            (key, Value::Number(number)) if COUNTS.contains(&key) => {
                match number.as_u64().is_some_and(|count| count <= COUNT) {
                    true => Ok(()),
                    false => Err(refused(format!(
                        "`{key}` is {number}: expected a whole number, at most {COUNT}"
                    ))),
                }
            }
            _ => Ok(()),
        }
    }
}

fn check_pattern(pattern: &str) -> Result<()> {
    match pattern.len() > PATTERN {
        true => Err(refused(format!(
            "a regular expression of {} bytes: at most {PATTERN} can be used",
            pattern.len()
        ))),
        false => Ok(()),
    }
}

/// The digits of a number without those that only say how great it is.
fn digits(number: &str) -> usize {
    let number = number.strip_suffix(".0").unwrap_or(number);
    let (number, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let digits = number.trim_start_matches(['-', '0', '.']);
    let own = digits.bytes().filter(u8::is_ascii_digit).count();
    let shift = exponent.parse::<i32>().map_or(u32::MAX, i32::unsigned_abs);
    own.saturating_add(shift as usize)
}

/// What a reference leads to.
fn place<'a>(schema: &'a Value, reference: &str) -> Result<&'a Value> {
    let inside = reference.strip_prefix('#');
    let Some(pointer) = inside.filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Err(refused(format!(
            "`$ref` is `{reference}`: only places in the schema itself can be meant, as in `#/$defs/name`"
        )));
    };
    // The engine takes `#/` for the whole, and knows none of a pointer's escapes.
    let pointer = if pointer == "/" { "" } else { pointer };
    let found = schema
        .pointer(pointer)
        .filter(|_| !pointer.contains(['~', '%']));
    found.ok_or_else(|| {
        refused(format!(
            "`$ref` is `{reference}`, which is not in the schema"
        ))
    })
}

fn depth_of(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth_of).max(),
        Value::Object(map) => map.values().map(depth_of).max(),
        _ => None,
    };
    1 + inner.unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        let mut schema = json!({"type": "string"});
        for _ in 0..depth {
            schema = json!({"items": schema});
        }
        schema
    }

    #[test]
    fn what_is_too_much_is_refused() {
        assert!(prepared(&json!({"type": "object"}), false).is_ok());
        assert!(prepared(&json!(true), false).is_ok());
        for multiple in [json!(5), json!(0.01), json!(2.0), json!(-0.125)] {
            assert!(prepared(&json!({"multipleOf": multiple}), false).is_ok());
        }
        let properties: serde_json::Map<String, Value> = (0..300)
            .map(|n| (format!("p{n}"), json!({"$ref": format!("#/$defs/d{n}")})))
            .collect();
        let definitions: serde_json::Map<String, Value> =
            (0..300).map(|n| (format!("d{n}"), json!({}))).collect();
        for schema in [
            json!(false),
            json!([]),
            json!("string"),
            nested(DEPTH + 1),
            json!({"enum": vec!["a"; VALUES]}),
            json!({"const": "a".repeat(BYTES + 1)}),
            json!({"pattern": "a".repeat(PATTERN + 1)}),
            json!({"patternProperties": {"a".repeat(PATTERN + 1): {}}}),
            json!({"maxItems": COUNT + 1}),
            json!({"minLength": -1}),
            json!({"minLength": 1.5}),
            json!({"multipleOf": 10007}),
            json!({"multipleOf": 1e-9}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "other.json#/a"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"x-guidance": {"lenient": true}}),
            json!({"properties": properties, "$defs": definitions}),
        ] {
            let error = prepared(&schema, false).unwrap_err();
            assert!(matches!(error, Error::Request(_)), "{schema}");
        }
    }

    #[test]
    fn properties_may_be_named_as_keywords() {
        let schema =
            json!({"properties": {"minLength": {"type": "integer"}, "pattern": {}, "$ref": {}}});
        assert!(prepared(&schema, false).is_ok());
    }
}

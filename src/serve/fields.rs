//! The fields of a request, taken one by one: what nobody takes is refused by name.

use std::ops::RangeInclusive;

use glmtune_model::near_names::near_name;
use serde_json::{Map, Value};

use super::error::ApiError;

/// Longest name of a field that a refusal repeats, in characters.
const SHOWN: usize = 64;

/// The fields of an object that have not been taken yet.
#[derive(Debug)]
pub struct Fields {
    fields: Map<String, Value>,
    /// What leads to the object, as `messages[0].`.
    path: String,
    known: Vec<&'static str>,
}

impl Fields {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// If it is no object.
    pub fn of_body(body: Value) -> Result<Self, ApiError> {
        match body {
            Value::Object(fields) => Ok(Self {
                fields,
                path: String::new(),
                known: Vec::new(),
            }),
            other => Err(ApiError::new(
                axum::http::StatusCode::BAD_REQUEST,
                format!("the body must be a JSON object, not {}", kind(&other)),
            )),
        }
    }

    /// The fields of an object within a request, which stands at `at`.
    ///
    /// # Errors
    /// If it is no object.
    pub fn of(value: Value, at: impl Into<String>) -> Result<Self, ApiError> {
        let at = at.into();
        match value {
            Value::Object(fields) => Ok(Self {
                fields,
                path: format!("{at}."),
                known: Vec::new(),
            }),
            other => Err(expected(&at, "an object", &other)),
        }
    }

    /// The full name of a field.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// Takes a field as it is; `null` is as if it were not there.
    pub fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields
            .shift_remove(field)
            .filter(|value| !value.is_null())
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// If it is none.
    pub fn boolean(&mut self, field: &'static str) -> Result<Option<bool>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(expected(&self.name(field), "a boolean", &other)),
        }
    }

    /// Takes a text.
    ///
    /// # Errors
    /// If it is none.
    pub fn text(&mut self, field: &'static str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(expected(&self.name(field), "a string", &other)),
        }
    }

    /// Takes a whole number of a range.
    ///
    /// # Errors
    /// If it is none, or outside.
    pub fn integer(
        &mut self,
        field: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let name = self.name(field);
        match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ if value.is_i64() || value.is_u64() => Err(outside(&name, &value, &range)),
            _ => Err(expected(&name, "a whole number", &value)),
        }
    }

    /// Takes a number of tokens or of texts.
    ///
    /// # Errors
    /// If it is none, or outside of the range.
    pub fn count(
        &mut self,
        field: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<usize>, ApiError> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        let number = self.integer(field, range)?;
        Ok(number.and_then(|number| usize::try_from(number).ok()))
    }

    /// Takes a number of a range.
    ///
    /// # Errors
    /// If it is none, or outside.
    pub fn number(
        &mut self,
        field: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let name = self.name(field);
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number as f32)),
            Some(_) => Err(outside(&name, &value, &range)),
            None => Err(expected(&name, "a number", &value)),
        }
    }

    /// Takes a list.
    ///
    /// # Errors
    /// If it is none.
    pub fn list(&mut self, field: &'static str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(other) => Err(expected(&self.name(field), "a list", &other)),
        }
    }

    /// Takes an object.
    ///
    /// # Errors
    /// If it is none.
    pub fn object(&mut self, field: &'static str) -> Result<Option<Self>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => Self::of(value, self.name(field)).map(Some),
        }
    }

    /// Takes a field that must be there.
    ///
    /// # Errors
    /// If it is not.
    pub fn require(&mut self, field: &'static str) -> Result<Value, ApiError> {
        self.take(field).ok_or_else(|| self.missing(field))
    }

    /// The refusal of a request that lacks a field.
    pub fn missing(&self, field: &str) -> ApiError {
        let name = self.name(field);
        let message = format!("`{name}` is required");
        ApiError::field(name, message).with_code("missing_required_parameter")
    }

    /// Takes fields that cannot matter, whatever they hold.
    pub fn ignore(&mut self, fields: &[&'static str]) {
        for field in fields {
            self.take(field);
        }
    }

    /// Takes a field that asks for something that is not done, unless its value asks for nothing.
    ///
    /// # Errors
    /// If it asks for it.
    pub fn refuse_unless(
        &mut self,
        field: &'static str,
        neutral: impl Fn(&Value) -> bool,
    ) -> Result<(), ApiError> {
        match self.take(field) {
            Some(value) if !neutral(&value) => Err(self.unsupported(field)),
            _ => Ok(()),
        }
    }

    /// The refusal of a field that is not supported, or not with this value.
    pub fn unsupported(&self, field: &str) -> ApiError {
        let name = self.name(field);
        let message = format!("`{name}` is not supported by this server; leave it out");
        ApiError::field(name, message).with_code("unsupported_parameter")
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// If something is left.
    pub fn finish(self) -> Result<(), ApiError> {
        let Some(field) = self.fields.keys().next() else {
            return Ok(());
        };
        let shown: String = field.chars().take(SHOWN).collect();
        let name = format!("{}{shown}", self.path);
        let tip = match near_name(&shown, self.known.iter().copied()) {
            Some(near) => format!("; did you mean `{}{near}`?", self.path),
            None => String::new(),
        };
        let message = format!("`{name}` is unknown to this server{tip}");
        Err(ApiError::field(name, message).with_code("unknown_parameter"))
    }
}

/// The refusal of a value of another type.
pub fn expected(name: &str, what: &str, found: &Value) -> ApiError {
    let message = format!("`{name}`: expected {what}, found {}", kind(found));
    ApiError::field(name, message).with_code("invalid_type")
}

fn outside<T: std::fmt::Display>(name: &str, found: &Value, range: &RangeInclusive<T>) -> ApiError {
    let (least, most) = (range.start(), range.end());
    let message = format!("`{name}`: {found} is outside of {least} to {most}");
    ApiError::field(name, message).with_code("invalid_value")
}

/// What a value is, without what it holds.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::of_body(value).unwrap()
    }

    #[test]
    fn what_is_left_is_refused_with_what_may_be_meant() {
        let mut body = fields(json!({"temprature": 1}));
        assert_eq!(body.number("temperature", 0.0..=2.0).unwrap(), None);
        let message = body.finish().unwrap_err().to_string();
        assert!(
            message.contains("`temprature`") && message.contains("`temperature`?"),
            "{message}"
        );
    }

    #[test]
    fn types_and_ranges() {
        let mut body =
            fields(json!({"a": 1.5, "b": 3, "c": null, "d": "x", "e": 18446744073709551615u64}));
        assert!(body.integer("a", 0..=9).is_err());
        assert!(body.integer("b", 0..=2).is_err());
        assert_eq!(body.integer("c", 0..=2).unwrap(), None);
        assert!(body.number("d", 0.0..=1.0).is_err());
        assert!(body.integer("e", 0..=i64::MAX).is_err());
        body.finish().unwrap();
    }

    #[test]
    fn texts_are_not_repeated() {
        let mut body = fields(json!({"n": "a secret"}));
        let message = body.count("n", 1..=2).unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
    }
}

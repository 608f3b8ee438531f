//! JSON values that know where in their file they stand, so that every refusal names file and path.

use std::fmt::Display;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::tokenizer::shown::shown;

/// A value of a file.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    file: &'a Path,
    at: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn new(file: &'a Path, at: &str, value: &'a Value) -> Self {
        Self {
            file,
            at: at.to_string(),
            value,
        }
    }

    /// The field of an object; null where it is missing.
    pub(super) fn field(&self, name: &str) -> Node<'a> {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Self::new(self.file, &format!("{}.{name}", self.at), value)
    }

    /// The path of this value in its file.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// The error that this value is.
    pub(super) fn refuse(&self, expected: impl Into<String>) -> Error {
        let found = match self.value {
            Value::Null => "nothing".to_string(),
            value => shown(&value.to_string()),
        };
        self.error(found, expected)
    }

    /// The same, with other words for what was found.
    pub(super) fn error(&self, found: impl Display, expected: impl Into<String>) -> Error {
        Error::key(self.file, &self.at, found, expected)
    }

    /// What the step of a pipeline is called.
    pub(super) fn kind(&self) -> Result<&'a str> {
        match self.value {
            Value::Object(_) => self.field("type").text(),
            _ => Err(self.refuse("an object with a `type`")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        let text = self.value.as_str();
        text.ok_or_else(|| self.refuse("a string"))
    }

    /// A string that is not empty and not longer than a token can be.
    pub(super) fn short_text(&self, longest: usize) -> Result<&'a str> {
        let text = self.text()?;
        match (1..=longest).contains(&text.len()) {
            true => Ok(text),
            false => Err(self.error(
                format!("{} bytes", text.len()),
                format!("1 to {longest} bytes"),
            )),
        }
    }

    pub(super) fn character(&self) -> Result<char> {
        let mut characters = self.text()?.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(character),
            _ => Err(self.refuse("one character")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool> {
        let flag = self.value.as_bool();
        flag.ok_or_else(|| self.refuse("true or false"))
    }

    pub(super) fn flag_or(&self, default: bool) -> Result<bool> {
        match self.is_null() {
            true => Ok(default),
            false => self.flag(),
        }
    }

    pub(super) fn number(&self, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
        let number = self
            .value
            .as_u64()
            .and_then(|number| number.try_into().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                self.refuse(format!(
                    "a number from {} to {}",
                    range.start(),
                    range.end()
                ))
            })
    }

    pub(super) fn items(&self) -> Result<Vec<Node<'a>>> {
        let items = self.value.as_array();
        let items = items.ok_or_else(|| self.refuse("a list"))?;
        let node = |(index, value)| Self::new(self.file, &format!("{}[{index}]", self.at), value);
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// The only field of an object that is one of several.
    pub(super) fn variant(&self, names: &[&str]) -> Result<Node<'a>> {
        let found = names.iter().find(|name| self.value.get(**name).is_some());
        let expected = || format!("an object with one of {}", names.join(", "));
        found
            .map(|name| self.field(name))
            .ok_or_else(|| self.refuse(expected()))
    }

    /// Whether this is the field of that name.
    pub(super) fn is_field(&self, name: &str) -> bool {
        self.at.rsplit('.').next() == Some(name)
    }
}

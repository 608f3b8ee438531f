//! An object of a settings file whose keys are asked for one by one.

use std::fmt;

use serde_json::{Map, Value};

use super::findings::Findings;
use super::form::{Form, OBJECT};
use crate::error::KeyFault;
use crate::near_names::near_name;

/// One object of a file: the file itself, or an object in it.
#[derive(Debug)]
pub struct Section<'a> {
    /// Its dotted key with a dot behind it; empty for the file itself.
    prefix: String,
    object: &'a Map<String, Value>,
    /// The keys that were asked for or accepted.
    known: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn top(object: &'a Map<String, Value>, findings: &'a mut Findings) -> Self {
        Self {
            prefix: String::new(),
            object,
            known: Vec::new(),
            findings,
        }
    }

    /// The object under `key`, given to `read`, which must ask for all of its keys.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let object = match self.value(key)? {
            Value::Object(object) => object,
            other => {
                self.wrong(key, other, OBJECT.expected);
                return None;
            }
        };
        let mut section = Section {
            prefix: format!("{}{key}.", self.prefix),
            object,
            known: Vec::new(),
            findings: self.findings,
        };
        let found = read(&mut section);
        section.refuse_unknown();
        Some(found)
    }

    /// The value of a key. Null counts as absent.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is a value under `key`.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The value under `key` as `parse` reads it; one that it does not read is a fault and counts as absent.
    pub fn read_by<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let found = parse(value);
        if found.is_none() {
            self.wrong(key, value, expected);
        }
        found
    }

    /// The value under `key`; one of another form is a fault and counts as absent.
    pub fn read<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        self.read_by(key, form.expected, form.read)
    }

    /// The same, with a value for one that is absent.
    pub fn read_or<T>(&mut self, key: &'static str, form: &Form<T>, default: T) -> T {
        self.read(key, form).unwrap_or(default)
    }

    /// The same, where `"auto"` counts as absent too.
    pub fn read_or_auto<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        match self.value(key)? {
            value if value == "auto" => None,
            _ => self.read_by(key, &format!("{} or \"auto\"", form.expected), form.read),
        }
    }

    /// The value under a key that must be there.
    pub fn require<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        if !self.has(key) {
            self.wrong(key, "nothing", form.expected);
        }
        self.read(key, form)
    }

    /// A key of which one value alone is supported.
    pub fn only(&mut self, key: &'static str, supported: impl Into<Value>) {
        let Some(value) = self.value(key) else { return };
        let supported = supported.into();
        let is_same_number =
            supported.is_number() && value.is_number() && value.as_f64() == supported.as_f64();
        if *value != supported && !is_same_number {
            let expected = format!("{supported}, as nothing else is supported");
            self.wrong(key, value, &expected);
        }
    }

    /// Keys that have a form and no effect; each that is there is noted with the reason.
    pub fn inert<T>(&mut self, keys: &[&'static str], form: &Form<T>, reason: &str) {
        for &key in keys {
            if self.has(key) {
                self.read_or_auto(key, form);
                self.note(key, reason);
            }
        }
    }

    /// Keys that may be there, whatever their values.
    pub fn accept(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Adds a line on a key that is accepted.
    pub fn note(&mut self, key: &str, text: &str) {
        let note = format!("`{}{key}`: {text}", self.prefix);
        self.findings.notes.push(note);
    }

    /// Adds a fault.
    pub fn wrong(&mut self, key: &str, found: impl fmt::Display, expected: &str) {
        self.findings.faults.push(KeyFault::Value {
            key: format!("{}{key}", self.prefix),
            found: found.to_string(),
            expected: expected.to_string(),
        });
    }

    /// The keys that were neither asked for nor accepted so far, with their values.
    pub fn unknown(&self) -> Vec<(&'a str, &'a Value)> {
        let entries = self.object.iter().map(|(key, value)| (key.as_str(), value));
        entries
            .filter(|(key, _)| !self.known.contains(key))
            .collect()
    }

    /// Makes every key that is unknown a fault.
    pub fn refuse_unknown(&mut self) {
        for (key, _) in self.unknown() {
            self.findings.faults.push(KeyFault::Unknown {
                key: format!("{}{key}", self.prefix),
                near: self.near(key),
            });
        }
    }

    /// Notes every key that is unknown.
    pub fn note_unknown(&mut self) {
        for (key, _) in self.unknown() {
            let advice = self
                .near(key)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            self.note(key, &format!("unknown, and has no effect{advice}"));
        }
    }

    fn near(&self, key: &str) -> Option<String> {
        near_name(key, self.known.iter().copied()).map(str::to_string)
    }
}

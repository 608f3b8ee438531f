//! Objects of a settings file, read key by key: faults and notes of the whole file are gathered, and what
//! nobody asked for is a fault.

use serde_json::{Map, Value};

/// How alike (Jaro-Winkler, 0 to 1) a known key must be to be suggested for an unknown one.
const NEAR: f64 = 0.85;

/// A form that values can have: how it is called, and how a value of it is read.
pub(super) struct Form<T> {
    pub(super) expected: &'static str,
    pub(super) read: fn(&Value) -> Option<T>,
}

pub(super) const FLAG: Form<bool> = Form {
    expected: "true or false",
    read: Value::as_bool,
};

pub(super) const TEXT: Form<String> = Form {
    expected: "a text",
    read: |value| value.as_str().map(str::to_string),
};

pub(super) const COUNT: Form<u64> = Form {
    expected: "a whole number from 1",
    read: |value| whole(value).filter(|&count| count >= 1),
};

pub(super) const SIZE: Form<u64> = Form {
    expected: "a whole number from 0",
    read: whole,
};

pub(super) const NUMBER: Form<f64> = Form {
    expected: "a number from 0",
    read: |value| value.as_f64().filter(|&number| number >= 0.0),
};

pub(super) const POSITIVE: Form<f64> = Form {
    expected: "a number above 0",
    read: |value| value.as_f64().filter(|&number| number > 0.0),
};

/// An object whose keys concern no part of glmtune.
pub(super) const OBJECT: Form<()> = Form {
    expected: "an object",
    read: |value| value.is_object().then_some(()),
};

/// Whole numbers are written as `5e8` too.
fn whole(value: &Value) -> Option<u64> {
    let fits = |number: &f64| number.fract() == 0.0 && (0.0..=u64::MAX as f64).contains(number);
    let float = || value.as_f64().filter(fits).map(|number| number as u64);
    value.as_u64().or_else(float)
}

/// What reading a file gave besides its settings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// One object of the file.
pub(super) struct Section<'a> {
    /// Its dotted key with a dot behind it; empty for the file itself.
    prefix: String,
    map: &'a Map<String, Value>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn top(map: &'a Map<String, Value>, findings: &'a mut Findings) -> Self {
        Self {
            prefix: String::new(),
            map,
            known: Vec::new(),
            findings,
        }
    }

    /// The object under `key`, given to `read`, after which its keys must all have been asked for.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let map = match self.value(key)? {
            Value::Object(map) => map,
            other => {
                self.wrong(key, other, OBJECT.expected);
                return None;
            }
        };
        let mut section = Section {
            prefix: format!("{}{key}.", self.prefix),
            map,
            known: Vec::new(),
            findings: self.findings,
        };
        let found = read(&mut section);
        section.finish();
        Some(found)
    }

    /// The value of a key. Null counts as absent, as it does in Python.
    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether there is a value under `key`.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The value under `key`; one of another form is a fault and counts as absent.
    pub(super) fn read<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        let value = self.value(key)?;
        let found = (form.read)(value);
        if found.is_none() {
            self.wrong(key, value, form.expected);
        }
        found
    }

    /// The same, where `"auto"` counts as absent too.
    pub(super) fn read_or_auto<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        let value = self.value(key).filter(|&value| value != "auto")?;
        let found = (form.read)(value);
        if found.is_none() {
            self.wrong(key, value, &format!("{} or \"auto\"", form.expected));
        }
        found
    }

    /// The value under a key that must be there.
    pub(super) fn require<T>(&mut self, key: &'static str, form: &Form<T>) -> Option<T> {
        if !self.has(key) {
            self.wrong(key, "nothing", form.expected);
        }
        self.read(key, form)
    }

    /// Keys that have a form and no effect; each that is there is noted with the reason.
    pub(super) fn inert<T>(&mut self, keys: &[&'static str], form: &Form<T>, reason: &str) {
        for &key in keys {
            if self.has(key) {
                self.read_or_auto(key, form);
                self.note(key, reason);
            }
        }
    }

    /// A switch of which one side alone is supported.
    pub(super) fn only(&mut self, key: &'static str, supported: bool) {
        match self.read(key, &FLAG) {
            Some(found) if found != supported => {
                let expected = format!("{supported}, as nothing else is supported");
                self.wrong(key, found, &expected);
            }
            _ => {}
        }
    }

    /// Adds a line on a key that is accepted.
    pub(super) fn note(&mut self, key: &str, text: &str) {
        let note = format!("`{}{key}`: {text}", self.prefix);
        self.findings.notes.push(note);
    }

    /// Adds a fault.
    pub(super) fn wrong(&mut self, key: &str, found: impl std::fmt::Display, expected: &str) {
        let fault = format!("`{}{key}`: found {found}, expected {expected}", self.prefix);
        self.findings.faults.push(fault);
    }

    /// Makes every key that nobody asked for a fault.
    pub(super) fn finish(self) {
        for key in self.map.keys() {
            if !self.known.contains(&key.as_str()) {
                let advice = advice(key, &self.known);
                let fault = format!("`{}{key}`: unknown key; {advice}", self.prefix);
                self.findings.faults.push(fault);
            }
        }
    }
}

/// What to do about an unknown key.
fn advice(key: &str, known: &[&str]) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(&key.to_lowercase(), name);
    let near = known
        .iter()
        .map(|&name| (likeness(name), name))
        .filter(|&(likeness, _)| likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => "remove it".to_string(),
    }
}

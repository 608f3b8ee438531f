//! Reports: as JSON for programs, with numbers; as indented lines for people, with all sizes in one unit.

use std::io::Write;

use glmtune_model::printable::printable;
use serde_json::{Map, Value, json};

use super::console::grouped;
use super::error::Result;

/// Sizes are shown in the largest unit in which the largest of them is at least 1.
const UNITS: [(&str, f64); 4] = [
    ("TiB", (1u64 << 40) as f64),
    ("GiB", (1u64 << 30) as f64),
    ("MiB", (1u64 << 20) as f64),
    ("KiB", (1u64 << 10) as f64),
];

/// A report, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Named parts.
    Parts(Vec<(String, Report)>),
    /// Words.
    Text(String),
    /// A number of things.
    Count(u64),
    /// A number that is not a count.
    Number(f64),
    /// A size.
    Bytes(u64),
    /// A size and the sizes that it is the sum of.
    Sum(Vec<(&'static str, u64)>),
    /// A number of things out of all of them.
    Share(u64, u64),
    /// Yes or no.
    Flag(bool),
    /// Several strings.
    List(Vec<String>),
    /// Not known; left out where people read.
    Nothing,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::Parts(Vec::new())
    }

    /// What a JSON value says.
    pub fn of_json(value: Value) -> Self {
        let number = |number: &serde_json::Number| match number.as_u64() {
            Some(count) => Self::Count(count),
            None => number.as_f64().map_or(Self::Nothing, Self::Number),
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(found) => number(&found),
            Value::String(text) => Self::Text(text),
            Value::Array(values) => Self::List(values.into_iter().map(text).collect()),
            Value::Object(parts) => {
                let parts = parts.into_iter();
                Self::Parts(
                    parts
                        .map(|(name, part)| (name, Self::of_json(part)))
                        .collect(),
                )
            }
        }
    }

    /// With one more part.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, part: impl Into<Report>) -> Self {
        self.add(name, part);
        self
    }

    /// Adds a part; what has no parts becomes a report that has.
    pub fn add(&mut self, name: impl Into<String>, part: impl Into<Report>) {
        if let Self::Parts(parts) = self {
            parts.push((name.into(), part.into()));
        }
    }

    /// Sizes in bytes, everything else by its name.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Parts(parts) => {
                let parts = parts
                    .iter()
                    .map(|(name, part)| (name.clone(), part.to_json()));
                Value::Object(parts.collect())
            }
            Self::Text(text) => json!(text),
            Self::Count(number) | Self::Bytes(number) => json!(number),
            Self::Number(number) => json!(number),
            Self::Sum(parts) => {
                let mut map: Map<String, Value> = parts
                    .iter()
                    .map(|(name, bytes)| ((*name).to_string(), json!(bytes)))
                    .collect();
                map.insert("total".to_string(), json!(sum(parts)));
                Value::Object(map)
            }
            Self::Share(part, whole) => json!({"count": part, "share": share(*part, *whole)}),
            Self::Flag(flag) => json!(flag),
            Self::List(texts) => json!(texts),
            Self::Nothing => Value::Null,
        }
    }

    /// Writes the report as lines, or as JSON.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write(&self, out: &mut impl Write, as_json: bool) -> Result<()> {
        if as_json {
            serde_json::to_writer_pretty(&mut *out, &self.to_json())
                .map_err(std::io::Error::from)?;
            writeln!(out)?;
            return Ok(());
        }
        out.write_all(self.to_string().as_bytes())?;
        Ok(())
    }

    fn lines(&self, unit: Unit, depth: usize, out: &mut String) {
        let Self::Parts(parts) = self else {
            return;
        };
        let indent = "  ".repeat(depth);
        for (name, part) in parts {
            // Names and texts may come from files.
            let name = printable(name);
            match part {
                Self::Parts(inner) if inner.is_empty() => {}
                Self::Parts(_) => {
                    out.push_str(&format!("{indent}{name}:\n"));
                    part.lines(unit, depth + 1, out);
                }
                Self::Nothing => {}
                _ => out.push_str(&format!("{indent}{name}: {}\n", part.line(unit))),
            }
        }
    }

    fn line(&self, unit: Unit) -> String {
        match self {
            Self::Parts(_) | Self::Nothing => String::new(),
            Self::Text(text) => printable(text).to_string(),
            Self::Count(number) => grouped(*number as usize),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => unit.show(*bytes),
            Self::Sum(parts) => {
                let there = parts.iter().filter(|(_, bytes)| *bytes > 0);
                let there: Vec<String> = there
                    .map(|(name, bytes)| format!("{name} {}", unit.show(*bytes)))
                    .collect();
                let total = unit.show(sum(parts));
                match there.is_empty() {
                    true => total,
                    false => format!("{total} = {}", there.join(" + ")),
                }
            }
            Self::Share(part, whole) => format!(
                "{} ({:.4} %)",
                grouped(*part as usize),
                100.0 * share(*part, *whole)
            ),
            Self::Flag(flag) => flag.to_string(),
            Self::List(texts) => {
                let texts = texts.iter().map(|text| printable(text).to_string());
                texts.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn largest(&self) -> u64 {
        match self {
            Self::Parts(parts) => parts
                .iter()
                .map(|(_, part)| part.largest())
                .max()
                .unwrap_or(0),
            Self::Bytes(bytes) => *bytes,
            Self::Sum(parts) => sum(parts),
            _ => 0,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.lines(Unit::of(self.largest()), 0, &mut out);
        f.write_str(&out)
    }
}

impl From<&str> for Report {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Report {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Report {
    fn from(number: usize) -> Self {
        Self::Count(number as u64)
    }
}

impl From<bool> for Report {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Report>> From<Option<T>> for Report {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

fn sum(parts: &[(&'static str, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Seconds for people.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    name: &'static str,
    bytes: f64,
}

impl Unit {
    fn of(largest: u64) -> Self {
        let fits = |(_, bytes): &&(&'static str, f64)| largest as f64 >= *bytes;
        let (name, bytes) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
        Self {
            name,
            bytes: *bytes,
        }
    }

    fn show(self, bytes: u64) -> String {
        format!("{:.2} {}", bytes as f64 / self.bytes, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new()
            .with("kind", "a model")
            .with("parameters", 1234567usize)
            .with(
                "memory",
                Report::new()
                    .with(
                        "device",
                        Report::Sum(vec![("weights", 3 << 30), ("none", 0)]),
                    )
                    .with("host", Report::Bytes(100 << 20)),
            )
            .with("trained", Report::Share(1, 4))
            .with("mode", None::<String>)
    }

    #[test]
    fn people_read_one_unit() {
        let expected = "kind: a model\nparameters: 1,234,567\nmemory:\n  device: 3.00 GiB = weights 3.00 GiB\n  \
                        host: 0.10 GiB\ntrained: 1 (25.0000 %)\n";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn programs_read_numbers() {
        let found = report().to_json();
        assert_eq!(found["memory"]["device"]["total"], 3u64 << 30);
        assert_eq!(found["memory"]["host"], 100u64 << 20);
        assert_eq!(found["trained"]["share"], 0.25);
        assert_eq!(found["parameters"], 1234567);
    }
}

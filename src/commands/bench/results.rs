//! Results of measurements: kept in a file after each of them, so that a run goes on where another one ended.

use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::files::{self, Limit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::case::Work;
use super::ceilings::{COPY, PRODUCT};
use super::measured::Found;
use crate::commands::error::{Error, Result};

/// The release that writes the results: those of another one do not compare.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// What decides a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// A directory, or the name of a preset.
    pub model: String,
    /// The family that was asked for.
    pub mode: Option<String>,
    /// The devices, in words.
    pub device: String,
    /// The type that was asked for.
    pub asked_dtype: Option<String>,
    /// Whether GPUs compute with this program's kernels.
    pub fused: bool,
    /// What is done.
    pub settings: Work,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What people call it.
    pub name: String,
    /// What decides it.
    #[serde(flatten)]
    pub key: Key,
    /// The type that was computed in.
    #[serde(default)]
    pub dtype: String,
    /// What went wrong, in the last lines of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Most memory of the process, where the system tells.
    pub process_peak_bytes: Option<u64>,
    /// Most memory of the device's pools; none where it is the process's own.
    pub device_peak_bytes: Option<u64>,
    /// Memory of the same in a published table, in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_gb: Option<f64>,
    /// What was found.
    pub measured: Vec<Found>,
}

/// What a machine gives at most, per second; none where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ceilings {
    /// Multiplications and additions of products.
    pub operations: Option<f64>,
    /// Bytes.
    pub bytes: Option<f64>,
}

/// The results so far.
#[derive(Debug)]
pub struct Results {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

/// A file of them.
#[derive(Deserialize)]
struct File {
    glmtune: String,
    results: Vec<Entry>,
}

impl Results {
    /// The results of a file, if it is there.
    ///
    /// # Errors
    /// If the file is another one, or of another release.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let bytes = path.map(|path| files::read_if_present(path, Limit::STATE));
        let entries = match (path, bytes.transpose()?.flatten()) {
            (Some(path), Some(bytes)) => entries(path, &bytes)?,
            _ => Vec::new(),
        };
        Ok(Self {
            path: path.map(Path::to_path_buf),
            entries,
        })
    }

    /// The result of a key; what has failed is none.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        let entry = self.entries.iter().find(|entry| entry.key == *key);
        entry.filter(|entry| entry.failed.is_empty())
    }

    /// Takes in a result, in place of an earlier one, and writes all of them.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        self.entries.retain(|other| other.key != entry.key);
        self.entries.push(entry);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let all: Vec<&Entry> = self.entries.iter().collect();
        let text = format!("{:#}\n", self.json(&all, &[]));
        Ok(AtomicFile::write(path, text.as_bytes())?)
    }

    /// The results of some keys, in their order; what has failed is among them.
    pub fn of(&self, keys: &[Key]) -> Vec<&Entry> {
        let find = |key: &Key| self.entries.iter().find(|entry| entry.key == *key);
        keys.iter().filter_map(find).collect()
    }

    /// The ceilings that a result is held against.
    pub fn ceilings(&self, key: &Key) -> Ceilings {
        let machine = Key {
            settings: Work::Machine,
            ..key.clone()
        };
        let found = |name: &str| {
            let entry = self.get(&machine)?;
            entry.measured.iter().find(|found| found.name == name)
        };
        Ceilings {
            operations: found(PRODUCT).and_then(|found| found.rate(found.operations)),
            bytes: found(COPY).and_then(|found| found.rate(found.bytes)),
        }
    }

    /// Results with their rates and shares, and the names of what was not measured.
    pub fn json(&self, entries: &[&Entry], not_measured: &[&str]) -> Value {
        let results: Vec<Value> = entries.iter().map(|entry| self.with_rates(entry)).collect();
        json!({"glmtune": RELEASE, "results": results, "not_measured": not_measured})
    }

    fn with_rates(&self, entry: &Entry) -> Value {
        let mut value = json!(entry);
        let ceilings = self.ceilings(&entry.key);
        let rates = entry.measured.iter().map(|found| {
            let mut value = json!(found);
            if let Value::Object(map) = &mut value {
                add_rates(map, found, ceilings);
            }
            value
        });
        value["measured"] = Value::Array(rates.collect());
        value
    }
}

fn add_rates(map: &mut Map<String, Value>, found: &Found, ceilings: Ceilings) {
    let operations = found.rate(found.operations);
    let bytes = found.rate(found.bytes);
    let rates = [
        ("tokens_per_second", found.rate(found.tokens)),
        ("operations_per_second", operations),
        ("product_share", share(operations, ceilings.operations)),
        ("bytes_per_second", bytes),
        ("memory_share", share(bytes, ceilings.bytes)),
    ];
    for (name, rate) in rates {
        if let Some(rate) = rate {
            map.insert(name.to_string(), json!(rate));
        }
    }
}

/// A rate as a part of its ceiling.
pub fn share(rate: Option<f64>, ceiling: Option<f64>) -> Option<f64> {
    let ceiling = ceiling.filter(|&ceiling| ceiling > 0.0)?;
    rate.map(|rate| rate / ceiling)
}

fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>> {
    let wrong = |what: String| {
        Error::Request(format!(
            "--output {}: {what}; give another name",
            path.display()
        ))
    };
    let value: Value = files::json(bytes, path)?;
    if value["glmtune"] != RELEASE {
        return Err(wrong(format!(
            "exists and has no results of glmtune {RELEASE}"
        )));
    }
    let file: File = serde_json::from_value(value)
        .map_err(|error| wrong(format!("has results that cannot be read ({error})")))?;
    debug_assert_eq!(file.glmtune, RELEASE);
    Ok(file.results)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(settings: Work, measured: Vec<Found>) -> Entry {
        Entry {
            name: "x".to_string(),
            key: Key {
                model: "tiny".to_string(),
                mode: None,
                device: "d".to_string(),
                asked_dtype: None,
                fused: true,
                settings,
            },
            dtype: "f32".to_string(),
            failed: Vec::new(),
            process_peak_bytes: Some(1),
            device_peak_bytes: None,
            published_gb: None,
            measured,
        }
    }

    #[test]
    fn results_come_back_and_are_held_against_the_ceilings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        let mut results = Results::open(Some(&path)).unwrap();
        let product = Found::of(PRODUCT, &[1.0, 1.0]).products(50.0);
        let copy = Found::of(COPY, &[1.0, 1.0]).bytes(10.0);
        results
            .add(entry(Work::Machine, vec![product, copy]))
            .unwrap();
        let load = entry(Work::Load, vec![Found::of("", &[3.0, 2.0]).bytes(10.0)]);
        results.add(load.clone()).unwrap();
        let read = Results::open(Some(&path)).unwrap();
        assert_eq!(read.get(&load.key), Some(&load));
        assert_eq!(read.ceilings(&load.key).operations, Some(100.0));
        let json = read.json(&read.of(std::slice::from_ref(&load.key)), &[]);
        assert_eq!(json["results"][0]["measured"][0]["memory_share"], 0.5);
        let failed = Entry {
            failed: vec!["no".to_string()],
            ..load
        };
        results.add(failed.clone()).unwrap();
        assert_eq!(results.get(&failed.key), None);
        assert_eq!(results.of(&[failed.key]).len(), 1);
        std::fs::write(&path, "{}").unwrap();
        assert!(Results::open(Some(&path)).is_err());
    }
}

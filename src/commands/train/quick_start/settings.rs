//! What quick start stands for, as `examples/small-base/quick-start.toml` says: flags of `train`, under `[predict]`
//! flags of `predict`, and under `[held_out]` how many rows are asked before and after.

use std::ffi::OsString;
use std::path::Path;

use glmtune_model::error::{Error, Result};
use toml::{Table, Value};

use crate::settings_file::{self, Setting};

const TEXT: &str = include_str!("../../../../examples/small-base/quick-start.toml");
/// Where it stands in the sources, for messages.
const PATH: &str = "examples/small-base/quick-start.toml";

/// The settings.
#[derive(Debug)]
pub struct Settings {
    /// Of the training.
    pub train: Vec<Setting>,
    /// Of the answers before and after.
    pub predict: Vec<OsString>,
    /// Rows that are asked.
    pub rows: usize,
}

impl Settings {
    /// The settings that are built in.
    ///
    /// # Errors
    /// None but for a fault in the file.
    pub fn read() -> Result<Self> {
        Self::parse(TEXT)
    }

    fn parse(text: &str) -> Result<Self> {
        let fault = |detail: String| Error::Request(format!("{PATH}: {detail}"));
        let mut table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| fault(error.to_string()))?;
        let predict = section(&mut table, "predict").map_err(fault)?;
        let held_out = section(&mut table, "held_out").map_err(fault)?;
        let rows = held_out.get("rows").and_then(Value::as_integer);
        let rows = rows.and_then(|rows| usize::try_from(rows).ok());
        let flags = |command: &str, table: &Table| {
            let found = settings_file::of_table(command, table, |_| None);
            found.map_err(|faults| fault(faults.join("\n  ")))
        };
        let predict = flags("predict", &predict)?.into_iter();
        Ok(Self {
            train: flags("train", &table)?,
            predict: predict.map(|(_, argument)| argument).collect(),
            rows: rows.ok_or_else(|| fault("[held_out]: `rows` must be a number".to_string()))?,
        })
    }
}

fn section(table: &mut Table, name: &str) -> std::result::Result<Table, String> {
    match table.remove(name) {
        Some(Value::Table(found)) => Ok(found),
        _ => Err(format!("no table [{name}]")),
    }
}

/// A path as an argument of a flag.
pub fn with_path(flag: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(format!("{flag}="));
    argument.push(path);
    argument
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_sound() {
        let found = Settings::read().unwrap();
        assert!(found.rows > 0 && !found.train.is_empty());
        let fault = Settings::parse("[predict]\nmax_new_token = 3\n[held_out]\nrows = 3");
        assert!(fault.unwrap_err().to_string().contains("max_new_tokens"));
    }
}

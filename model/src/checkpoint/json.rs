//! JSON files as Python's tools write theirs.

use std::path::Path;

use serde_json::Value;

use super::atomic::AtomicFile;
use crate::error::{Error, Result};

/// Writes a JSON file, indented as Python's tools indent theirs.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::json(path, error))?;
    bytes.push(b'\n');
    AtomicFile::write(path, &bytes)
}

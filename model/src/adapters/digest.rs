//! What tells an adapter from another one.

use std::path::Path;

use serde_json::Value;

use super::declaration::Declaration;
use crate::checkpoint::add_tensor;
use crate::digest::Digest;
use crate::error::Result;
use crate::files::read_object;

/// The SHA-256 of the settings of an adapter's directory and of some values of all its tensors.
pub(super) fn of(dir: &Path, kind: &Declaration) -> Result<String> {
    let settings = read_object(&dir.join(kind.settings))?;
    let weights = (kind.weights)(dir)?;
    let mut digest = Digest::of(Value::Object(settings).to_string().as_bytes());
    for info in weights.entries().filter(|info| info.dtype.is_float()) {
        add_tensor(&mut digest, &weights, info)?;
    }
    Ok(digest.hex())
}

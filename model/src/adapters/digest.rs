//! What tells an adapter from another one.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::AdapterKind;
use crate::checkpoint::add_tensor;
use crate::error::Result;
use crate::files::read_object;

/// The SHA-256 of an adapter's settings and of some values of all its tensors: another training of the same
/// adapter, or another scale, gives another one.
///
/// # Errors
/// If the directory holds no adapter, or it cannot be read.
pub fn adapter_digest(dir: &Path) -> Result<String> {
    let kind = AdapterKind::detect(dir)?.declaration();
    let settings = read_object(&dir.join(kind.settings))?;
    let weights = (kind.weights)(dir)?;
    let mut digest = Sha256::new();
    digest.update(Value::Object(settings).to_string());
    for info in weights.entries().filter(|info| info.dtype.is_float()) {
        add_tensor(&mut digest, &weights, info)?;
    }
    Ok(format!("{:x}", digest.finalize()))
}

//! What a model directory holds besides its weights.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Endings of the weights of any framework, and of their indices.
const WEIGHTS: [&str; 14] = [
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".gguf",
    ".ggml",
    ".onnx",
    ".npz",
    ".index.json",
    ".part",
    ".lock",
];

/// Copies every file of a base directory that is no weight: `config.json`, tokenizer, `*.py`,
/// `generation_config.json`, license and the like. Not copied: subdirectories, hidden files, weights of
/// any framework and their indices. Returns the names, sorted.
///
/// Links are followed, as in the hub's cache, so that the copy stands alone. Files that `to` already has
/// are overwritten.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be read or written.
pub fn copy_side_files(from: &Path, to: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(|error| Error::io(from, error))? {
        let path = entry.map_err(|error| Error::io(from, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !is_side_file(name) || !path.is_file() {
            continue;
        }
        // Content only: the hub's cache is read-only, the copy should not be.
        let bytes = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let target = to.join(name);
        fs::write(&target, bytes).map_err(|error| Error::io(&target, error))?;
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

fn is_side_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.starts_with('.') && !WEIGHTS.iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_weights() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keep = [
            "MODEL_LICENSE",
            "config.json",
            "ice_text.model",
            "modeling_chatglm.py",
            "tokenizer.model",
        ];
        let leave = [
            ".gitattributes",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ];
        for name in keep.iter().chain(&leave) {
            fs::write(from.path().join(name), name).unwrap();
        }
        fs::create_dir(from.path().join("folder")).unwrap();
        assert_eq!(copy_side_files(from.path(), to.path()).unwrap(), keep);
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), keep.len());
        assert_eq!(
            fs::read_to_string(to.path().join("config.json")).unwrap(),
            "config.json"
        );
    }
}

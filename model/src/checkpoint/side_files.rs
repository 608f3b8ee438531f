//! What a model directory holds besides its weights.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::open_regular;

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

/// Copies every file of a base directory that does not hold weights: `config.json`, tokenizer, `*.py`,
/// `generation_config.json`, license and the like. Not copied: subdirectories, hidden files, weights of
/// any framework and their indices. Returns the names, sorted.
///
/// Of the links, only those that stay at home are followed (see [`own_file`]); the others are left out with a
/// warning. Files that `to` already has are overwritten.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be read or written.
pub fn copy_side_files(from: &Path, to: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(|error| Error::io(from, error))? {
        let name = entry.map_err(|error| Error::io(from, error))?.file_name();
        let Some(name) = name.to_str().filter(|name| is_side_file(name)) else {
            continue;
        };
        if let Some(path) = own_file(from, name)? {
            copy_contents(&path, &to.join(name))?;
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Where the contents of a directory's file are, if it is a regular file that may be copied with the
/// directory: one of its own, a link to another one of its own, or a link of the hub's cache
/// (`snapshots/REVISION/NAME` to a file of `blobs`). Whoever made the directory could otherwise have any
/// file of the user's, whose name alone is known, copied into what is then given away.
///
/// # Errors
///
/// [`Error::Io`] if the directory cannot be read.
pub fn own_file(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    let path = dir.join(name);
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(None);
    };
    if !metadata.is_symlink() {
        return Ok(metadata.is_file().then_some(path));
    }
    let Ok(target) = path.canonicalize() else {
        tracing::warn!("{}: not copied: a link to nothing", path.display());
        return Ok(None);
    };
    let home = dir.canonicalize().map_err(|error| Error::io(dir, error))?;
    if !target.is_file() {
        return Ok(None);
    }
    if is_at_home(&home, &target) || is_in_hub_cache(&home, &target) {
        return Ok(Some(target));
    }
    tracing::warn!(
        "{}: not copied: it links out of its directory, to {}; put the file itself there",
        path.display(),
        target.display()
    );
    Ok(None)
}

/// Whether a link's target is a file of the directory that would be copied under its own name, too.
fn is_at_home(home: &Path, target: &Path) -> bool {
    let name = target.file_name().and_then(|name| name.to_str());
    target.parent() == Some(home) && name.is_some_and(is_side_file)
}

/// Whether a directory is a revision in a hub's cache, and a link's target one of its files there.
fn is_in_hub_cache(home: &Path, target: &Path) -> bool {
    let Some(snapshots) = home.parent().filter(|dir| dir.ends_with("snapshots")) else {
        return false;
    };
    let blobs = snapshots.with_file_name("blobs");
    let is_folder = blobs.symlink_metadata().is_ok_and(|what| what.is_dir());
    is_folder && target.parent() == Some(&blobs)
}

/// By contents alone: the hub's cache is read-only, a copy should not be.
fn copy_contents(from: &Path, to: &Path) -> Result<()> {
    let (mut source, _) = open_regular(from)?;
    let mut target = File::create(to).map_err(|error| Error::io(to, error))?;
    io::copy(&mut source, &mut target).map_err(|error| Error::io(to, error))?;
    Ok(())
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

    #[cfg(unix)]
    #[test]
    fn links_that_lead_away_are_not_copied() {
        use std::os::unix::fs::symlink;
        let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let base = folder.path().join("base");
        fs::create_dir(&base).unwrap();
        fs::write(folder.path().join("id_rsa"), "secret").unwrap();
        fs::write(base.join("README.md"), "text").unwrap();
        fs::write(base.join("model.safetensors"), "weights").unwrap();
        fs::write(base.join(".env"), "secret").unwrap();
        let absolute = folder.path().join("id_rsa");
        symlink("../id_rsa", base.join("LICENSE")).unwrap();
        symlink(absolute, base.join("NOTICE")).unwrap();
        symlink("LICENSE", base.join("COPYING")).unwrap();
        symlink("nothing", base.join("AUTHORS")).unwrap();
        symlink("/dev/zero", base.join("zeros.txt")).unwrap();
        symlink(".env", base.join("env.txt")).unwrap();
        symlink("model.safetensors", base.join("weights.txt")).unwrap();
        symlink("README.md", base.join("README.txt")).unwrap();
        let copied = copy_side_files(&base, to.path()).unwrap();
        assert_eq!(copied, ["README.md", "README.txt"]);
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2);
        assert!(!to.path().join("README.txt").is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn the_hubs_cache_is_copied_and_stands_alone() {
        use std::os::unix::fs::symlink;
        let (cache, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let revision = cache.path().join("snapshots/abc");
        fs::create_dir_all(&revision).unwrap();
        fs::create_dir(cache.path().join("blobs")).unwrap();
        fs::write(cache.path().join("blobs/123"), "pieces").unwrap();
        fs::write(cache.path().join("other"), "secret").unwrap();
        symlink("../../blobs/123", revision.join("tokenizer.model")).unwrap();
        symlink("../../other", revision.join("LICENSE")).unwrap();
        let copied = copy_side_files(&revision, to.path()).unwrap();
        assert_eq!(copied, ["tokenizer.model"]);
        let copy = to.path().join("tokenizer.model");
        assert!(!copy.is_symlink());
        assert_eq!(fs::read(copy).unwrap(), b"pieces");
        // A folder of blobs that is a link itself leads anywhere.
        fs::rename(cache.path().join("blobs"), cache.path().join("real")).unwrap();
        symlink("real", cache.path().join("blobs")).unwrap();
        assert!(copy_side_files(&revision, to.path()).unwrap().is_empty());
    }
}

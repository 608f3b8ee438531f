//! Paths that clients name, kept below one directory.

use std::path::{Component, Path, PathBuf};

/// How deep a directory may be below the one that holds it.
const DEPTH: usize = 3;

/// The directory that `path` names below `folder`, links resolved; `None` if it is none, or if it or something in it
/// lies elsewhere.
pub fn confined(folder: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.is_empty() || path.contains('\0') || !relative.components().all(is_plain) {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let dir = folder.join(relative).canonicalize().ok()?;
    (dir.is_dir() && dir != folder && holds(&folder, &dir, DEPTH)).then_some(dir)
}

/// Whether a directory and all in it lie in a folder.
fn holds(folder: &Path, dir: &Path, depth: usize) -> bool {
    let Ok(entries) = dir.read_dir() else {
        return false;
    };
    dir.starts_with(folder)
        && entries.into_iter().all(|entry| {
            let path = entry
                .ok()
                .and_then(|entry| entry.path().canonicalize().ok());
            match path {
                Some(path) if path.is_dir() => depth > 0 && holds(folder, &path, depth - 1),
                Some(path) => path.starts_with(folder),
                None => false,
            }
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_lies_below() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("adapters");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir_all(root.path().join("adapters-other/c")).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let expected = folder.canonicalize().unwrap();
        assert_eq!(confined(&folder, "a"), Some(expected.join("a")));
        assert_eq!(confined(&folder, "a/b"), Some(expected.join("a/b")));
        for path in [
            "",
            ".",
            "..",
            "../adapters-other/c",
            "a/../../adapters-other",
            "file",
            "missing",
            "/",
            "a\0",
        ] {
            assert_eq!(confined(&folder, path), None, "{path:?}");
        }
        let absolute = folder.join("a").to_str().unwrap().to_string();
        assert_eq!(confined(&folder, &absolute), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("adapters");
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::create_dir_all(folder.join("b")).unwrap();
        fs::write(root.path().join("secret"), "").unwrap();
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        link(root.path().to_path_buf(), folder.join("out")).unwrap();
        link(root.path().join("secret"), folder.join("a/config.json")).unwrap();
        link(folder.join("b"), folder.join("c")).unwrap();
        assert_eq!(confined(&folder, "out"), None);
        assert_eq!(confined(&folder, "a"), None);
        // A link within is as good as a directory.
        assert_eq!(
            confined(&folder, "c"),
            Some(folder.canonicalize().unwrap().join("b"))
        );
    }
}

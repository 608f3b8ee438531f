//! The index of a checkpoint in several files: which tensor stands in which file.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{self, Limit};

/// A parsed index.
#[derive(Debug)]
pub(crate) struct Index {
    /// Tensor name and file name, in the order of the file.
    pub(crate) places: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Json {
    weight_map: Map<String, Value>,
}

impl Index {
    /// Reads an index and checks that it names nothing but files beside it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let json: Json = files::read_json(path, Limit::INDEX)?;
        let mut places = Vec::with_capacity(json.weight_map.len());
        for (name, value) in json.weight_map {
            match value {
                Value::String(file) if is_plain(&file) => places.push((name, file)),
                other => {
                    let key = format!("weight_map.{name}");
                    return Err(Error::key(
                        path,
                        key,
                        other,
                        "the plain name of a file beside the index",
                    ));
                }
            }
        }
        Ok(Self { places })
    }

    /// The files that the index names, each once.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.places.iter().map(|(_, file)| file.as_str()).collect()
    }
}

/// Whether a name, joined to a folder, stays in that folder on every system. Where a link of that name
/// leads is the choice of whoever made the folder (the hub's cache consists of links), not of the index.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
        && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_names() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        for name in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a/",
            "./a",
            "a\\b",
            "..\\x",
            "C:x",
            "a\0",
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    fn read(json: &str) -> Result<Index> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(&path, json).unwrap();
        Index::read(&path)
    }

    #[test]
    fn faults_are_named() {
        for (json, part) in [
            (r#"{"weight_map":{"a":"../x.bin"}}"#, "`weight_map.a`"),
            (r#"{"weight_map":{"a":7}}"#, "`weight_map.a`"),
            (r#"{"metadata":{}}"#, "weight_map"),
            ("{", "index.json"),
        ] {
            let message = read(json).expect_err(json).to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn plain_names_stay_inside(name in "[./\\\\:a]{0,6}") {
            if is_plain(&name) {
                let joined = Path::new("/folder").join(&name);
                prop_assert_eq!(joined.parent().unwrap(), Path::new("/folder"));
            }
        }
    }
}

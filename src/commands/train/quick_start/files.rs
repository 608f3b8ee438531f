//! The model and the rows of quick start, built into the program: those of `examples/small-base`.

use std::fs;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::{AtomicDir, AtomicFile, Existing};

use crate::commands::error::{Error, Result};

const TRAIN: &str = include_str!("../../../../examples/small-base/data/train.jsonl");
const TEST: &str = include_str!("../../../../examples/small-base/data/test.jsonl");
const BASE: [(&str, &[u8]); 5] = [
    (
        "config.json",
        include_bytes!("../../../../examples/small-base/model/config.json"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../../../examples/small-base/model/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../../../examples/small-base/model/tokenizer_config.json"),
    ),
    (
        "model.safetensors.index.json",
        include_bytes!("../../../../examples/small-base/model/model.safetensors.index.json"),
    ),
    (
        "model-00001-of-00001.safetensors",
        include_bytes!("../../../../examples/small-base/model/model-00001-of-00001.safetensors"),
    ),
];
/// Where things lie in the folder of a quick start.
#[derive(Debug)]
pub struct Places {
    /// The base model.
    pub base: PathBuf,
    /// The rows that it is tuned on.
    pub train: PathBuf,
    /// Rows that are held out.
    pub test: PathBuf,
    /// The base's answers to them.
    pub before: PathBuf,
    /// The tuned model's answers to them.
    pub after: PathBuf,
    /// Where a command that is shown puts its answers.
    pub again: PathBuf,
}

impl Places {
    /// Those of a folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            base: folder.join("model"),
            train: folder.join("train.jsonl"),
            test: folder.join("test.jsonl"),
            before: folder.join("before.jsonl"),
            after: folder.join("after.jsonl"),
            again: folder.join("answers.jsonl"),
        }
    }

    /// Writes model and rows, of those that are held out the first `asked`, unless they are there.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn fill(&self, asked: usize) -> Result<()> {
        if let Some(folder) = self.train.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        }
        let test: String = TEST.split_inclusive('\n').take(asked).collect();
        for (path, rows) in [(&self.train, TRAIN), (&self.test, &test)] {
            if !path.exists() {
                AtomicFile::write(path, rows.as_bytes())?;
            }
        }
        if self.base.exists() {
            return Ok(());
        }
        let dir = AtomicDir::create(&self.base, Existing::Refuse)?;
        for (name, bytes) in BASE {
            let path = dir.path().join(name);
            fs::write(&path, bytes).map_err(|error| failed(&path, error))?;
        }
        dir.commit()?;
        Ok(())
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::Model(glmtune_model::Error::io(path, error))
}

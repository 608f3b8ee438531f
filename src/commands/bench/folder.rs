//! The folder of a run: one that stays, or one that goes with the run.

use std::fs;
use std::path::{Path, PathBuf};

use glmtune_model::error::Error;

use crate::commands::error::Result;

/// A folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    /// A folder that stays, or where none is given a temporary one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(kept: Option<&Path>) -> Result<Self> {
        match kept {
            Some(path) => Self::make(path.to_path_buf(), false),
            None => Self::temporary(&std::env::temp_dir()),
        }
    }

    /// A folder inside another one that goes when it is dropped.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn temporary(inside: &Path) -> Result<Self> {
        let name = format!("glmtune-bench-{}", std::process::id());
        Self::make(inside.join(name), true)
    }

    fn make(path: PathBuf, is_temporary: bool) -> Result<Self> {
        let path = std::path::absolute(&path).map_err(|error| Error::io(&path, error))?;
        fs::create_dir_all(&path).map_err(|error| Error::io(&path, error))?;
        Ok(Self { path, is_temporary })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is in the system's folder of temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

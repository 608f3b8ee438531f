//! What can be wrong with a file of predictions.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure while predictions are read or scored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A row is not what the task scores.
    #[error("{}, line {line}: {detail}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// Two files do not belong together, or a request cannot be met.
    #[error("{0}")]
    Request(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether the request itself was wrong, as opposed to a failure while running: rows that cannot be scored
    /// were given by the user.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Row { .. } | Self::Request(_) => true,
        }
    }
}

//! What a command can fail with, and the exit status that follows.

use std::io;
use std::path::Path;

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From the model library.
    #[error(transparent)]
    Model(#[from] glmtune_model::Error),
    /// From the training library.
    #[error(transparent)]
    Training(#[from] glmtune_training::Error),
    /// From the evaluation library.
    #[error(transparent)]
    Eval(#[from] glmtune_eval::Error),
    /// Standard output or input failed.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// Ctrl-C came before the work was done.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// Some of the work could not be done.
    #[error("{0}")]
    Failed(String),
    /// The request itself was wrong.
    #[error("{0}")]
    Request(String),
}

impl Error {
    /// Something is wrong with the row of a line.
    pub fn row(path: &Path, line: usize, detail: impl Into<String>) -> Self {
        Self::Model(glmtune_model::Error::Row {
            path: path.to_path_buf(),
            line,
            detail: detail.into(),
            others: 0,
        })
    }

    /// 2 if the request itself was wrong, 1 if it failed while running.
    pub fn exit_status(&self) -> u8 {
        let is_request = match self {
            Self::Model(error) => error.is_request(),
            Self::Training(error) => error.is_request(),
            Self::Eval(error) => error.is_request(),
            Self::Stream(_) | Self::Interrupted(_) | Self::Failed(_) => false,
            Self::Request(_) => true,
        };
        if is_request { 2 } else { 1 }
    }

    /// Whether it tells of a device that has failed.
    pub fn is_device_failure(&self) -> bool {
        use glmtune_training::Error as Training;
        matches!(
            self,
            Self::Model(glmtune_model::Error::Device(_))
                | Self::Training(
                    Training::Device(_) | Training::Model(glmtune_model::Error::Device(_))
                )
        )
    }

    /// Whether the reader of standard output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

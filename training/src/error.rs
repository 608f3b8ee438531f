//! The one error type of this crate.

use glmtune_model::printable::printable_lines;

use crate::device_failure::StoppedByDevice;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in a training, from its settings to what it saves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From the model library.
    #[error(transparent)]
    Model(#[from] glmtune_model::Error),

    /// The request itself was wrong.
    #[error("{}", printable_lines(.0))]
    Request(String),

    /// A loss or gradient is not a number or infinite; with step and rows.
    #[error(
        "not finite: {0}; a lower learning rate, bf16 or f32 instead of f16, or --on_nan skip may help; \
         the last checkpoint is intact"
    )]
    NotFinite(String),

    /// Answers of the model cannot be scored.
    #[error("scoring the model's answers: {0}")]
    Scoring(String),

    /// A stage of a pipeline ended, and with it the others.
    #[error("a stage of the pipeline broke down")]
    PipelineBroken,

    /// The processes of a training cannot reach each other.
    #[error("between processes: {0}")]
    Ranks(String),

    /// A device failed in the middle of a training.
    #[error("{0}")]
    Device(StoppedByDevice),

    /// Weights that were to visit the device have stayed there, so that offloading them saves nothing.
    #[error("these weights were to visit the device, and have stayed there: {0}")]
    NotOffloaded(String),

    /// Parameters that are to be trained have no influence on the loss.
    #[error("no gradient in the first step, these parameters would stay as they are: {0}")]
    NoGradient(String),
}

impl Error {
    /// Whether the request was wrong (exit status 2), as opposed to a failure while running (1).
    pub fn is_request(&self) -> bool {
        match self {
            Self::Model(error) => error.is_request(),
            Self::Request(_) => true,
            Self::NotFinite(_)
            | Self::NoGradient(_)
            | Self::Scoring(_)
            | Self::PipelineBroken
            | Self::Ranks(_)
            | Self::NotOffloaded(_)
            | Self::Device(_) => false,
        }
    }
}

//! Validation while training: rows that are held out, their loss by the forward pass alone, on request the score
//! of generated answers, and what follows from it: which step was the best, and whether to stop early.
//!
//! Nothing here changes the course of a training before it ends: no dropout is drawn, no gradient is taken, and
//! the order of the rows stays.

mod abilities;
mod best;
mod hold_out;
mod measure;
mod scorer;
mod settings;

pub use abilities::{Abilities, Ability, AbilityChange, AbilityFile};
pub use best::{Best, Standing};
pub use hold_out::hold_out;
pub use scorer::{Score, Scorer};
pub use settings::{HoldOut, Metric, ValidationSettings};

pub(crate) use measure::{Measured, measure};

use glmtune_model::GlmBackend;

use crate::data::Dataset;

/// The rows that are held out, and how answers to them are scored.
#[derive(Debug)]
pub struct Validation<B: GlmBackend> {
    /// The rows.
    pub dataset: Dataset,
    /// Scores generated answers, where that is asked for.
    pub scorer: Option<Box<dyn Scorer<B>>>,
}

//! What a model's answers are worth: somebody else knows.

use std::fmt::Debug;

use glmtune_model::{CausalLm, GlmBackend};

use crate::error::Result;

/// A mean over rows, with its name.
pub type Score = (String, f64);

/// Has a model answer, and scores the answers.
pub trait Scorer<B: GlmBackend>: Debug {
    /// The scores by their names; the first is the one that counts, and more is better.
    ///
    /// # Errors
    /// If the model cannot answer, or the answers cannot be scored.
    fn score(&self, model: &CausalLm<B>) -> Result<Vec<Score>>;
}

//! The runs of a comparison with their scores.

use super::inputs::{MethodInput, Tuned};
use crate::task::Scored;

/// A run whose answers are scored.
pub(super) struct ScoredRun<'a> {
    pub seed: u64,
    pub tuned: &'a Tuned,
    pub scored: Scored,
}

/// A method's runs that are done.
pub(super) struct ScoredMethod<'a> {
    pub input: &'a MethodInput,
    pub runs: Vec<ScoredRun<'a>>,
}

//! What comes of a step, and of a whole training.

use std::path::PathBuf;

use crate::validation::Best;

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The last output written, if any; that of the best model, where the training ended with it.
    pub output: Option<PathBuf>,
    /// Steps done, those before a resume included.
    pub steps: u64,
    /// Steps done when the last checkpoint was written: those after it are lost.
    pub saved_steps: u64,
    /// Whether the user stopped it before its end.
    pub interrupted: bool,
    /// Whether it ended since validations became no better.
    pub stopped_early: bool,
    /// The best validation.
    pub best: Option<Best>,
}

/// Whether another step follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Stop,
}

/// What was saved last.
#[derive(Debug)]
pub(super) struct LastSaved {
    /// The output, if this process has written one.
    pub output: Option<PathBuf>,
    /// Steps done when the last checkpoint was written.
    pub steps: u64,
}

impl LastSaved {
    /// A run that begins or goes on after so many steps.
    pub fn at(steps: u64) -> Self {
        Self {
            output: None,
            steps,
        }
    }
}

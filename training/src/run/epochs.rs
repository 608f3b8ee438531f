//! Which rows come when: an epoch's micro-batches, and the windows of them that make a step.

use super::Trainer;
use crate::data::{Sequences, epoch};
use crate::optim::ops::TrainingBackend;

/// The micro-batches of an epoch, by the numbers of their rows.
pub(super) struct Epoch(Vec<Sequences>);

impl Epoch {
    /// Number of micro-batches.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Windows of the micro-batches that are not done; a last partial one counts.
    pub fn windows(&self, done: usize, size: usize) -> impl Iterator<Item = &[Sequences]> {
        self.0[done.min(self.len())..].chunks(size)
    }
}

impl<B: TrainingBackend> Trainer<B> {
    /// The micro-batches of an epoch, counted from 0.
    pub(super) fn micro_batches(&self, number: usize) -> Epoch {
        Epoch(epoch(&self.dataset, &self.settings, number))
    }
}

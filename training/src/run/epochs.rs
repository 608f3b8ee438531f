//! Which rows come when: an epoch's micro-batches, and the windows of them that make a step.

use super::Trainer;
use crate::data::{batches, epoch_order};
use crate::optim::ops::TrainingBackend;

/// The micro-batches of an epoch, by the numbers of their rows.
pub(super) struct Epoch(Vec<Vec<usize>>);

impl Epoch {
    /// Number of micro-batches.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Windows of the micro-batches that are not done; a last partial one counts.
    pub fn windows(&self, done: usize, size: usize) -> impl Iterator<Item = &[Vec<usize>]> {
        self.0[done.min(self.len())..].chunks(size)
    }
}

impl<B: TrainingBackend> Trainer<B> {
    /// The micro-batches of an epoch, counted from 0.
    pub(super) fn micro_batches(&self, epoch: usize) -> Epoch {
        let order = self.order(epoch);
        let batches = batches(&order, self.settings.per_device_train_batch_size);
        Epoch(batches.map(<[usize]>::to_vec).collect())
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let (rows, settings) = (self.dataset.len(), &self.settings);
        let mut order = epoch_order(rows, settings.seed, epoch, settings.shuffle);
        if settings.longest_first && epoch == 0 {
            let longest = (0..rows).max_by_key(|&place| self.dataset.ids(order[place]).len());
            order.swap(0, longest.unwrap_or(0));
        }
        order
    }
}

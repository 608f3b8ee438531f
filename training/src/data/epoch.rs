//! The micro-batches of an epoch: which rows come when, and which of them together.

use super::by_length::group_by_length;
use super::dataset::Dataset;
use super::pack::pack;
use super::shuffle::{epoch_order, shuffle_sequences};
use crate::settings::TrainSettings;

/// The rows of a micro-batch by their numbers, sequence by sequence: one in each, or several that are packed.
pub type Sequences = Vec<Vec<usize>>;

/// The micro-batches of an epoch, counted from 0. They follow from the rows, the settings that determine a trajectory
/// and the number of the epoch; those of other epochs are not needed.
pub fn epoch(dataset: &Dataset, settings: &TrainSettings, epoch: usize) -> Vec<Sequences> {
    let mut sequences = sequences_in_order(dataset, settings, epoch);
    if settings.longest_first && epoch == 0 {
        let places = (0..sequences.len()).rev();
        let longest = places.max_by_key(|&place| dataset.tokens(&sequences[place]));
        sequences.swap(0, longest.unwrap_or(0));
    }
    let batch_size = settings.per_device_train_batch_size.max(1);
    let batches = sequences.chunks(batch_size);
    batches.map(<[Vec<usize>]>::to_vec).collect()
}

/// Number of sequences in an epoch: the same in each.
pub fn count_sequences(dataset: &Dataset, settings: &TrainSettings) -> usize {
    match settings.packing {
        true => packed(dataset, settings, 0).len(),
        false => dataset.len(),
    }
}

fn sequences_in_order(dataset: &Dataset, settings: &TrainSettings, epoch: usize) -> Sequences {
    if settings.packing {
        let mut sequences = packed(dataset, settings, epoch);
        if settings.shuffle {
            // Otherwise they would be sorted by their first row, which the longest rows seldom are.
            shuffle_sequences(&mut sequences, settings.seed, epoch);
        }
        return sequences;
    }
    let mut order = rows_in_order(dataset, settings, epoch);
    if settings.group_by_length {
        let length = |row| dataset.ids(row).len();
        group_by_length(
            &mut order,
            length,
            settings.per_device_train_batch_size.max(1),
        );
    }
    order.into_iter().map(|row| vec![row]).collect()
}

fn packed(dataset: &Dataset, settings: &TrainSettings, epoch: usize) -> Sequences {
    let order = rows_in_order(dataset, settings, epoch);
    let length = |row| dataset.ids(row).len();
    pack(&order, length, settings.limits.max_len)
}

fn rows_in_order(dataset: &Dataset, settings: &TrainSettings, epoch: usize) -> Vec<usize> {
    epoch_order(dataset.len(), settings.seed, epoch, settings.shuffle)
}

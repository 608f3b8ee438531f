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

#[cfg(test)]
mod tests {
    use glmtune_model::rows::TrainingRow;
    use glmtune_model::tokenizer::Mode;

    use super::super::summary::Summary;
    use super::super::token_store::TokenStore;
    use super::*;
    use crate::settings::Method;

    /// Rows of 5 to 60 tokens.
    fn dataset() -> Dataset {
        let mut store = TokenStore::default();
        for row in 0..200 {
            let length = 5 + row * 37 % 56;
            let labels = vec![7; length];
            let input_ids = vec![1; length];
            store.push(row, &TrainingRow { input_ids, labels });
        }
        Dataset::new(store, Summary::default())
    }

    #[test]
    fn every_epoch_has_all_rows_in_as_many_sequences() {
        let dataset = dataset();
        let mut settings = TrainSettings::new(Mode::Glm2, Method::lora(8));
        settings.per_device_train_batch_size = 3;
        settings.limits.max_len = 100;
        for (packing, group_by_length) in [(false, false), (false, true), (true, false)] {
            (settings.packing, settings.group_by_length) = (packing, group_by_length);
            let count = count_sequences(&dataset, &settings);
            assert_eq!(count < 100, packing);
            let epochs = [0, 1, 2].map(|number| epoch(&dataset, &settings, number));
            assert_ne!(epochs[0], epochs[1]);
            assert_eq!(epochs[1], epoch(&dataset, &settings, 1));
            for batches in epochs {
                assert_eq!(batches.len(), count.div_ceil(3));
                let mut rows = batches.concat().concat();
                rows.sort_unstable();
                assert!(rows.into_iter().eq(0..200));
            }
            settings.seed += 1;
        }
    }

    #[test]
    fn the_longest_sequence_comes_first_where_that_is_asked_for() {
        let dataset = dataset();
        let mut settings = TrainSettings::new(Mode::Glm2, Method::lora(8));
        settings.longest_first = true;
        settings.limits.max_len = 100;
        for packing in [false, true] {
            settings.packing = packing;
            let batches = epoch(&dataset, &settings, 0);
            let longest = batches
                .iter()
                .flatten()
                .map(|rows| dataset.tokens(rows))
                .max();
            assert_eq!(longest, Some(dataset.tokens(&batches[0][0])));
        }
    }
}

//! The order of rows in an epoch, and of the sequences that are made of them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The streams of epochs for sequences; those for rows are the numbers of the epochs.
const SEQUENCES: u64 = 1 << 63;

/// The order of `rows` rows in an epoch: a shuffle by seed and epoch, which needs none of the epochs
/// before it, or the order of the file.
pub fn epoch_order(rows: usize, seed: u64, epoch: usize, shuffle: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    if shuffle {
        order.shuffle(&mut random(seed, epoch as u64));
    }
    order
}

/// Shuffles the sequences that rows in the order of an epoch were put into.
pub(super) fn shuffle_sequences<T>(sequences: &mut [T], seed: u64, epoch: usize) {
    sequences.shuffle(&mut random(seed, SEQUENCES | epoch as u64));
}

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_its_own_order_of_all_rows() {
        let first = epoch_order(1000, 7, 0, true);
        let second = epoch_order(1000, 7, 1, true);
        assert_ne!(first, second);
        assert_ne!(first, epoch_order(1000, 8, 0, true));
        assert_eq!(first, epoch_order(1000, 7, 0, true));
        for order in [first, second] {
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, epoch_order(1000, 7, 3, false));
        }
    }
}

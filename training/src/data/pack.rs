//! Rows of different lengths in sequences of one.

use std::collections::BTreeMap;

/// Puts rows into sequences of at most `most` tokens, none of which is split: best-fit decreasing, so that a row goes,
/// the longest first, where it leaves the least room. A row that is longer than that has a sequence of its own.
///
/// `order` are the rows, which are taken in turn where several have the same length; so they stand in each sequence,
/// and the sequences by their first one. How many sequences there are depends on the lengths alone.
pub(super) fn pack(
    order: &[usize],
    length: impl Fn(usize) -> usize,
    most: usize,
) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..order.len()).collect();
    places.sort_by_key(|&place| std::cmp::Reverse(length(order[place])));
    let mut sequences: Vec<Vec<usize>> = Vec::new();
    // Sequences by the tokens that they have room for.
    let mut with_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in places {
        let length = length(order[place]);
        let fitting = with_room.range_mut(length..).next();
        let found = fitting.and_then(|(&room, sequences)| Some((room, sequences.pop()?)));
        let (room, sequence) = found.unwrap_or((most, sequences.len()));
        if with_room.get(&room).is_some_and(Vec::is_empty) {
            with_room.remove(&room);
        }
        match sequences.get_mut(sequence) {
            Some(rows) => rows.push(place),
            None => sequences.push(vec![place]),
        }
        let left = room.saturating_sub(length);
        if left > 0 {
            with_room.entry(left).or_default().push(sequence);
        }
    }
    for places in &mut sequences {
        places.sort_unstable();
    }
    sequences.sort_unstable_by_key(|places| places[0]);
    for places in &mut sequences {
        places.iter_mut().for_each(|place| *place = order[*place]);
    }
    sequences
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::shuffle::epoch_order;
    use super::*;

    /// Best-fit decreasing as it is defined: every sequence is looked at for every row.
    fn by_definition(lengths: &[usize], most: usize) -> usize {
        let mut sorted = lengths.to_vec();
        sorted.sort_by_key(|&length| std::cmp::Reverse(length));
        let mut rooms: Vec<usize> = Vec::new();
        for length in sorted {
            let fitting = rooms.iter_mut().filter(|room| **room >= length);
            match fitting.min() {
                Some(room) => *room -= length,
                None => rooms.push(most.saturating_sub(length)),
            }
        }
        rooms.len()
    }

    #[test]
    fn every_row_is_in_one_sequence_and_none_is_too_long() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for trial in 0..300 {
            let most = random.random_range(1..200);
            let longest = random.random_range(1..=most + most / 4 + 1);
            let rows = random.random_range(0..150);
            let lengths: Vec<usize> = (0..rows)
                .map(|_| random.random_range(1..=longest))
                .collect();
            let tokens: usize = lengths.iter().sum();
            for epoch in 0..3 {
                let order = epoch_order(rows, trial, epoch, true);
                let found = pack(&order, |row| lengths[row], most);
                let mut all = found.concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..rows));
                let filled = |rows: &[usize]| rows.iter().map(|&row| lengths[row]).sum::<usize>();
                assert!(
                    found
                        .iter()
                        .all(|rows| rows.len() == 1 || filled(rows) <= most)
                );
                // Steps and schedule are the same in every epoch.
                assert_eq!(found.len(), by_definition(&lengths, most));
                assert!(found.len() >= tokens.div_ceil(most.max(longest)));
                // No two of them would fit into one.
                let mut sizes: Vec<usize> = found.iter().map(|rows| filled(rows)).collect();
                sizes.sort_unstable();
                assert!(sizes.len() < 2 || sizes[0] + sizes[1] > most);
            }
        }
    }

    #[test]
    fn rows_of_one_length_change_places_with_the_order() {
        let lengths = [5, 5, 3, 3, 8];
        let found = |order: &[usize]| pack(order, |row| lengths[row], 8);
        assert_eq!(found(&[0, 1, 2, 3, 4]), [vec![0, 3], vec![1, 2], vec![4]]);
        assert_eq!(found(&[4, 1, 3, 2, 0]), [vec![4], vec![1, 2], vec![3, 0]]);
    }
}

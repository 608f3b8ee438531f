//! Rows of like length in one micro-batch, so that little is padded.

/// Micro-batches among whose rows those of like length are found.
const MICRO_BATCHES: usize = 50;

/// Sorts stretches of some micro-batches each by length, the longest row first, and puts the longest row of all before
/// all others, so that memory that is short runs out at once: as `LengthGroupedSampler` of Hugging Face's Trainer.
pub(super) fn group_by_length(
    order: &mut [usize],
    length: impl Fn(usize) -> usize,
    batch_size: usize,
) {
    // Few rows are to be shuffled as well.
    let stretch = batch_size * (order.len() / (4 * batch_size)).clamp(1, MICRO_BATCHES);
    for rows in order.chunks_mut(stretch) {
        rows.sort_by_key(|&row| std::cmp::Reverse(length(row)));
    }
    let firsts = (0..order.len()).step_by(stretch).rev();
    let longest = firsts.max_by_key(|&place| length(order[place]));
    if let Some(longest) = longest {
        order.swap(0, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shuffle::epoch_order;
    use super::*;

    #[test]
    fn micro_batches_hold_rows_of_like_length_and_begin_with_the_longest() {
        let length = |row: usize| row * 7919 % 1009 + 1;
        let padded = |order: &[usize]| {
            let batches = order.chunks(8);
            let widths = batches.map(|rows| rows.iter().map(|&row| length(row)).max().unwrap_or(0));
            8 * widths.sum::<usize>()
        };
        for epoch in 0..3 {
            let shuffled = epoch_order(1000, 5, epoch, true);
            let mut order = shuffled.clone();
            group_by_length(&mut order, length, 8);
            assert_eq!((0..1000).map(length).max(), Some(length(order[0])));
            let tokens: usize = (0..1000).map(length).sum();
            assert!(padded(&order) < tokens + tokens / 15);
            assert!(padded(&shuffled) > tokens + tokens / 2);
            let mut sorted = order;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..1000));
        }
    }

    #[test]
    fn few_rows_are_grouped_too() {
        let mut none: [usize; 0] = [];
        group_by_length(&mut none, |row| row, 4);
        let mut few = [1, 0, 2];
        group_by_length(&mut few, |row| row, 4);
        assert_eq!(few, [2, 1, 0]);
    }
}

//! Sequences of token ids padded to one length, and where each of their tokens stands. A sequence is a row, or several
//! rows that lie end to end and do not see each other.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::layers::MaskSpec;

/// On which side short rows are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// As in training: padding follows the row and nothing real attends to it.
    Right,
    /// As in generation: all rows end together.
    Left,
}

/// One or more sequences, padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Tokens of each sequence.
    sequences: Vec<Vec<u32>>,
    /// Tokens of each row of each sequence.
    lengths: Vec<Vec<usize>>,
    padding: Padding,
    pad_id: u32,
    width: usize,
}

impl TokenBatch {
    /// A batch of rows, which may differ in length, each a sequence by itself.
    pub fn new(rows: Vec<Vec<u32>>, padding: Padding, pad_id: u32) -> Self {
        let lengths = rows.iter().map(|row| vec![row.len()]).collect();
        Self::of_sequences(rows, lengths, padding, pad_id)
    }

    /// A batch of sequences of rows that lie end to end, padded on the right. No row sees another one, and the positions
    /// of each begin anew.
    pub fn end_to_end(sequences: Vec<Vec<Vec<u32>>>, pad_id: u32) -> Self {
        let lengths = sequences.iter();
        let lengths = lengths.map(|rows| rows.iter().map(Vec::len).collect());
        let lengths = lengths.collect();
        let joined = sequences.iter().map(|rows| rows.concat()).collect();
        Self::of_sequences(joined, lengths, Padding::Right, pad_id)
    }

    fn of_sequences(
        sequences: Vec<Vec<u32>>,
        lengths: Vec<Vec<usize>>,
        padding: Padding,
        pad_id: u32,
    ) -> Self {
        let width = sequences.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            sequences,
            lengths,
            padding,
            pad_id,
            width,
        }
    }

    /// The sequences without padding.
    pub fn sequences(&self) -> &[Vec<u32>] {
        &self.sequences
    }

    /// Tokens per sequence, padding included.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows of each sequence, in their order: the index of the first token of each, and its tokens.
    pub fn rows(&self) -> impl Iterator<Item = Vec<(usize, &[u32])>> {
        let sequences = self.sequences.iter().zip(&self.lengths);
        sequences.map(|(tokens, lengths)| {
            let first = match self.padding {
                Padding::Right => 0,
                Padding::Left => self.width - tokens.len(),
            };
            let mut before = 0;
            let rows = lengths.iter().map(|&length| {
                let row = (first + before, &tokens[before..before + length]);
                before += length;
                row
            });
            rows.collect()
        })
    }

    /// The ids with padding, `[sequences, width]`.
    pub fn ids<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Int> {
        let count = self.sequences.len();
        let mut ids = Vec::with_capacity(count * self.width);
        for tokens in &self.sequences {
            let fill = std::iter::repeat_n(self.pad_id as i32, self.width - tokens.len());
            let real = tokens.iter().map(|&id| id as i32);
            match self.padding {
                Padding::Right => ids.extend(real.chain(fill)),
                Padding::Left => ids.extend(fill.chain(real)),
            }
        }
        Tensor::from_data(TensorData::new(ids, [count, self.width]), device)
    }
}

/// Where the tokens of one row stand, at any index of the row, also of tokens yet to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPositions {
    /// Index of the first real token.
    start: usize,
    /// Index after the bidirectional context; `start` where there is none.
    context_end: usize,
    /// Position that all tokens after the context share (ChatGLM-6B).
    mask_position: Option<u32>,
}

impl RowPositions {
    /// Positions 0, 1, 2, … from `start`; every token sees those up to itself.
    pub fn causal(start: usize) -> Self {
        Self {
            start,
            context_end: start,
            mask_position: None,
        }
    }

    /// ChatGLM-6B: a bidirectional context of `context` tokens; after it, all tokens stand at
    /// `mask_position` and count in the block position.
    pub fn blank_filling(start: usize, context: usize, mask_position: usize) -> Self {
        Self {
            start,
            context_end: start + context,
            mask_position: Some(mask_position as u32),
        }
    }

    /// Position and block position of the token at an index; padding stands at (0, 0).
    pub fn position(&self, index: usize) -> (u32, u32) {
        let position = index.saturating_sub(self.start) as u32;
        match self.mask_position {
            Some(mask) if index >= self.context_end => {
                (mask, (index - self.context_end) as u32 + 1)
            }
            _ => (position, 0),
        }
    }

    /// How many of the first `common` tokens have the same keys and values in a row that begins with the same ones: of
    /// a bidirectional context all or none, since each of its tokens sees all others.
    pub fn shared_with(&self, other: &Self, common: usize) -> usize {
        match self == other && common >= self.context_end {
            true => common,
            false => 0,
        }
    }

    /// Tokens that one pass must compute together, since they see each other.
    pub fn first_piece(&self) -> usize {
        self.context_end.max(1)
    }

    /// The indexes that the token at an index sees. Padding sees itself, so that its softmax exists.
    pub fn visible(&self, index: usize) -> (u32, u32) {
        if index < self.start {
            return (index as u32, index as u32 + 1);
        }
        (self.start as u32, (index + 1).max(self.context_end) as u32)
    }
}

/// Where the tokens of a batch stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPositions {
    /// The rows of each sequence, in their order.
    sequences: Vec<Vec<RowPositions>>,
    /// Sequences of the batch.
    batch: usize,
}

impl BatchPositions {
    /// The positions of the rows of each sequence, in their order.
    pub fn new(mut sequences: Vec<Vec<RowPositions>>) -> Self {
        let batch = sequences.len();
        // Tables and masks are made once where all sequences are alike.
        if sequences.windows(2).all(|pair| pair[0] == pair[1]) {
            sequences.truncate(1);
        }
        Self { sequences, batch }
    }

    /// Sequences of the batch, however many of them are alike.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The rows of each sequence, or those of a single one if all are alike.
    pub fn sequences(&self) -> &[Vec<RowPositions>] {
        &self.sequences
    }

    /// Positions and block positions of a range of indexes, sequence by sequence.
    pub fn positions(&self, range: Range<usize>) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.at(range).map(|(row, index)| row.position(index))
    }

    /// The mask of queries at a range of indexes over all keys up to its end and a prefix before them.
    pub fn mask(&self, range: Range<usize>, prefix: usize) -> MaskSpec {
        let end = range.end as u32;
        let visible = self.at(range.clone()).map(|(row, index)| {
            let (from, to) = row.visible(index);
            (from, to.min(end))
        });
        MaskSpec {
            prefix,
            keys: prefix + range.end,
            queries: range.len(),
            visible: visible.collect(),
        }
    }

    /// The row that stands at each of some indexes, sequence by sequence: before the first one that one, from the last one
    /// on that one.
    fn at(&self, range: Range<usize>) -> impl Iterator<Item = (&RowPositions, usize)> {
        self.sequences.iter().flat_map(move |rows| {
            range.clone().filter_map(move |index| {
                let after = rows.partition_point(|row| row.start <= index);
                Some((rows.get(after.saturating_sub(1))?, index))
            })
        })
    }

    /// Keeps only the given sequences, in the given order.
    pub fn select(&mut self, sequences: &[usize]) {
        self.batch = sequences.len();
        if self.sequences.len() > 1 {
            let kept = sequences.iter().map(|&index| self.sequences[index].clone());
            self.sequences = kept.collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_filling_positions_follow_the_mask_token() {
        // a b [gMASK] <sop> x y, after one token of padding
        let row = RowPositions::blank_filling(1, 3, 2);
        let positions: Vec<_> = (0..7).map(|i| row.position(i)).collect();
        assert_eq!(
            positions,
            [(0, 0), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
        );
        assert_eq!(row.visible(1), (1, 4));
        assert_eq!(row.visible(4), (1, 5));
        assert_eq!(row.visible(0), (0, 1));
    }

    #[test]
    fn a_context_is_shared_whole_or_not_at_all() {
        let causal = RowPositions::causal(0);
        assert_eq!(causal.shared_with(&causal, 5), 5);
        let row = RowPositions::blank_filling(0, 3, 2);
        assert_eq!(row.shared_with(&row, 4), 4);
        assert_eq!(row.shared_with(&row, 2), 0);
        assert_eq!(row.shared_with(&RowPositions::blank_filling(0, 4, 3), 4), 0);
        assert_eq!((row.first_piece(), causal.first_piece()), (3, 1));
    }

    #[test]
    fn rows_that_are_alike_are_kept_once() {
        let rows = vec![vec![RowPositions::causal(0)]; 3];
        let mut alike = BatchPositions::new(rows);
        assert_eq!((alike.sequences().len(), alike.batch()), (1, 3));
        alike.select(&[2, 0]);
        assert_eq!((alike.sequences().len(), alike.batch()), (1, 2));
        let rows = [0, 1]
            .map(|start| vec![RowPositions::causal(start)])
            .to_vec();
        let mask = BatchPositions::new(rows).mask(2..3, 4);
        assert_eq!(mask.visible, [(0, 3), (1, 3)]);
        assert_eq!(mask.keys, 7);
    }

    #[test]
    fn rows_end_to_end_stand_as_each_by_itself() {
        let sequences = vec![
            vec![vec![5, 6, 7], vec![8], vec![9, 10]],
            vec![vec![11, 12]],
        ];
        let batch = TokenBatch::end_to_end(sequences, 0);
        assert_eq!((batch.width(), batch.sequences()[0].len()), (6, 6));
        let rows: Vec<_> = batch.rows().collect();
        assert_eq!(rows[0], [(0, &[5, 6, 7][..]), (3, &[8]), (4, &[9, 10])]);
        assert_eq!(rows[1], [(0, &[11, 12][..])]);

        // a [gMASK] <sop> | b c [gMASK] <sop> x, and padding that goes on with the last row
        let blank = RowPositions::blank_filling;
        let positions = BatchPositions::new(vec![vec![blank(0, 2, 1), blank(3, 3, 2)]]);
        let found: Vec<_> = positions.positions(0..9).collect();
        let (first, second) = ([(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 0), (2, 0)]);
        let after = [(2, 1), (2, 2), (2, 3)];
        assert_eq!(found, [first, second, after].concat());
        let mask = positions.mask(0..9, 4);
        let (first, second) = ([(0, 2), (0, 2), (0, 3)], [(3, 6), (3, 6), (3, 6)]);
        assert_eq!(
            mask.visible,
            [first, second, [(3, 7), (3, 8), (3, 9)]].concat()
        );
        assert_eq!(mask.runs(0), [0..3, 3..9]);
        assert_eq!((mask.prefix, mask.keys), (4, 13));
    }
}

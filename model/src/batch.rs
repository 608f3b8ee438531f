//! Rows of token ids padded to one length, and where each of their tokens stands.

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

/// Rows of one or more sequences, padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    rows: Vec<Vec<u32>>,
    padding: Padding,
    pad_id: u32,
    width: usize,
}

impl TokenBatch {
    /// A batch of rows, which may differ in length.
    pub fn new(rows: Vec<Vec<u32>>, padding: Padding, pad_id: u32) -> Self {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            rows,
            padding,
            pad_id,
            width,
        }
    }

    /// The rows without padding.
    pub fn rows(&self) -> &[Vec<u32>] {
        &self.rows
    }

    /// Tokens per row, padding included.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Where the first real token of a row stands.
    pub fn start(&self, row: usize) -> usize {
        match self.padding {
            Padding::Right => 0,
            Padding::Left => self.width - self.rows[row].len(),
        }
    }

    /// The ids with padding, `[rows, width]`.
    pub fn ids<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Int> {
        let mut ids = Vec::with_capacity(self.rows.len() * self.width);
        for row in &self.rows {
            let fill = std::iter::repeat_n(self.pad_id as i32, self.width - row.len());
            let real = row.iter().map(|&id| id as i32);
            match self.padding {
                Padding::Right => ids.extend(real.chain(fill)),
                Padding::Left => ids.extend(fill.chain(real)),
            }
        }
        Tensor::from_data(TensorData::new(ids, [self.rows.len(), self.width]), device)
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
    rows: Vec<RowPositions>,
    /// Rows of the batch.
    batch: usize,
}

impl BatchPositions {
    /// The positions of each row.
    pub fn new(mut rows: Vec<RowPositions>) -> Self {
        let batch = rows.len();
        // Tables and masks are made once where all rows are alike.
        if rows.windows(2).all(|pair| pair[0] == pair[1]) {
            rows.truncate(1);
        }
        Self { rows, batch }
    }

    /// Rows of the batch, however many of them are alike.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// One entry per row, or a single one if all rows are alike.
    pub fn rows(&self) -> &[RowPositions] {
        &self.rows
    }

    /// Positions and block positions of a range of indexes, row by row.
    pub fn positions(&self, range: Range<usize>) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.rows
            .iter()
            .flat_map(move |row| range.clone().map(|index| row.position(index)))
    }

    /// The mask of queries at a range of indexes over all keys up to its end and a prefix before them.
    pub fn mask(&self, range: Range<usize>, prefix: usize) -> MaskSpec {
        let end = range.end as u32;
        let visible = self.rows.iter().flat_map(|row| {
            range.clone().map(|index| {
                let (from, to) = row.visible(index);
                (from, to.min(end))
            })
        });
        MaskSpec {
            prefix,
            keys: prefix + range.end,
            queries: range.len(),
            visible: visible.collect(),
        }
    }

    /// Keeps only the given rows, in the given order.
    pub fn select(&mut self, rows: &[usize]) {
        self.batch = rows.len();
        if self.rows.len() > 1 {
            self.rows = rows.iter().map(|&row| self.rows[row]).collect();
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
        let rows = vec![RowPositions::causal(0); 3];
        let mut alike = BatchPositions::new(rows);
        assert_eq!((alike.rows().len(), alike.batch()), (1, 3));
        alike.select(&[2, 0]);
        assert_eq!((alike.rows().len(), alike.batch()), (1, 2));
        let rows = vec![RowPositions::causal(0), RowPositions::causal(1)];
        let mask = BatchPositions::new(rows).mask(2..3, 4);
        assert_eq!(mask.visible, [(0, 3), (1, 3)]);
        assert_eq!(mask.keys, 7);
    }
}

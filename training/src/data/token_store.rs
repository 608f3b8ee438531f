//! Rows, token ids and targets of all rows in two arrays, and nothing else of the file.

use glmtune_model::digest::Digest;
use glmtune_model::rows::{IGNORED, TrainingRow};

/// Rows one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TokenStore {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Target of each token; -100 where there is none.
    pub labels: Vec<i32>,
    /// Where each row ends.
    pub ends: Vec<u64>,
    /// The line of each row in its file.
    pub lines: Vec<u32>,
}

impl TokenStore {
    /// Appends a row.
    pub fn push(&mut self, line: usize, row: &TrainingRow) {
        self.ids.extend(&row.input_ids);
        let label = |&label: &i64| i32::try_from(label).unwrap_or(IGNORED as i32);
        self.labels.extend(row.labels.iter().map(label));
        self.ends.push(self.ids.len() as u64);
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
    }

    /// Appends a row of another store.
    pub fn copy(&mut self, from: &Self, row: usize) {
        let range = from.range(row);
        self.ids.extend(&from.ids[range.clone()]);
        self.labels.extend(&from.labels[range]);
        self.ends.push(self.ids.len() as u64);
        self.lines.push(from.lines[row]);
    }

    /// Where a row's tokens are.
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[row] as usize
    }

    /// Digest of all rows in their order.
    pub fn fingerprint(&self) -> String {
        Digest::of(bytemuck::cast_slice(&self.ids))
            .with(bytemuck::cast_slice::<_, u8>(&self.labels))
            .with(bytemuck::cast_slice::<_, u8>(&self.ends))
            .hex()
    }
}

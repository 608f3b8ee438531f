//! Training rows, packed: token ids and targets of all rows in two arrays, and nothing else of the file.

use sha2::{Digest, Sha256};

use super::layout::TrainingRow;
use super::summary::Summary;
use crate::checkpoint::hex;
use crate::loss::IGNORED;

/// The rows of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub(super) packed: Packed,
    pub(super) summary: Summary,
    fingerprint: String,
}

/// Rows one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Target of each token; -100 where there is none.
    pub labels: Vec<i32>,
    /// Where each row ends.
    pub ends: Vec<u64>,
    /// The line of each row in its file.
    pub lines: Vec<u32>,
}

impl Packed {
    /// Appends a row.
    pub fn push(&mut self, line: usize, row: &TrainingRow) {
        self.ids.extend(&row.input_ids);
        let label = |&label: &i64| i32::try_from(label).unwrap_or(IGNORED as i32);
        self.labels.extend(row.labels.iter().map(label));
        self.ends.push(self.ids.len() as u64);
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[row] as usize
    }

    fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(bytemuck::cast_slice(&self.ids));
        digest.update(bytemuck::cast_slice(&self.labels));
        digest.update(bytemuck::cast_slice(&self.ends));
        hex(&digest.finalize())
    }
}

impl Dataset {
    /// Packed rows with what is said of them.
    pub(super) fn new(packed: Packed, summary: Summary) -> Self {
        Self {
            fingerprint: packed.fingerprint(),
            packed,
            summary,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.packed.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a row.
    pub fn ids(&self, row: usize) -> &[u32] {
        &self.packed.ids[self.packed.range(row)]
    }

    /// The target of each token of a row.
    pub fn labels(&self, row: usize) -> Vec<i64> {
        let labels = &self.packed.labels[self.packed.range(row)];
        labels.iter().map(|&label| i64::from(label)).collect()
    }

    /// The line of a row in its file; in a JSON array, its number.
    pub fn line(&self, row: usize) -> usize {
        self.packed.lines[row] as usize
    }

    /// What is worth knowing before a training.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Digest of all rows in their order: a resumed training must find the same.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

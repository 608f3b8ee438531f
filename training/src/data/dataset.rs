//! The rows of a training.

use std::path::Path;

use super::packed::Packed;
use super::summary::Summary;
use crate::error::Result;

/// The rows of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub(super) packed: Packed,
    pub(super) summary: Summary,
    fingerprint: String,
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

    /// Holds every row against what a model needs of its tokens.
    ///
    /// # Errors
    /// The first row in which `fault` finds something, with its line and the number of other such rows.
    pub fn check(&self, path: &Path, fault: &dyn Fn(&[u32]) -> Option<String>) -> Result<()> {
        let mut faults = (0..self.len()).filter_map(|row| Some((row, fault(self.ids(row))?)));
        let Some((row, detail)) = faults.next() else {
            return Ok(());
        };
        Err(glmtune_model::Error::Row {
            path: path.to_path_buf(),
            line: self.line(row),
            detail,
            others: faults.count(),
        }
        .into())
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

//! The rows of a training.

use std::path::Path;

use super::summary::{Summary, count_targets};
use super::token_store::TokenStore;
use crate::error::Result;

/// The rows of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub(super) store: TokenStore,
    pub(super) summary: Summary,
    fingerprint: String,
    prompt_text: String,
}

impl Dataset {
    /// Stored rows with what is said of them.
    pub(super) fn new(store: TokenStore, summary: Summary) -> Self {
        Self {
            fingerprint: store.fingerprint(),
            store,
            summary,
            prompt_text: String::new(),
        }
    }

    /// The same rows, before each of which a text stood.
    pub(super) fn with_prompt_text(mut self, text: String) -> Self {
        self.prompt_text = text;
        self
    }

    /// The text that stands before every row and is to stand before every question; usually nothing.
    pub fn prompt_text(&self) -> &str {
        &self.prompt_text
    }

    /// Some of the rows, in the given order. What was counted when the file was read is not theirs.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut store = TokenStore::default();
        rows.iter().for_each(|&row| store.copy(&self.store, row));
        let mut summary = Summary::default();
        summary.measure(&store);
        Self::new(store, summary).with_prompt_text(self.prompt_text.clone())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.store.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a row.
    pub fn ids(&self, row: usize) -> &[u32] {
        &self.store.ids[self.store.range(row)]
    }

    /// The target of each token of a row.
    pub fn labels(&self, row: usize) -> Vec<i64> {
        let labels = &self.store.labels[self.store.range(row)];
        labels.iter().map(|&label| i64::from(label)).collect()
    }

    /// Tokens of some rows together.
    pub fn tokens(&self, rows: &[usize]) -> usize {
        rows.iter().map(|&row| self.ids(row).len()).sum()
    }

    /// Targets of some rows together.
    pub fn targets(&self, rows: &[usize]) -> usize {
        let targets = rows
            .iter()
            .map(|&row| count_targets(self.labels(row).into_iter()));
        targets.sum()
    }

    /// The line of a row in its file; in a JSON array, its number.
    pub fn line(&self, row: usize) -> usize {
        self.store.lines[row] as usize
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

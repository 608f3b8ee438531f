//! Rows of an epoch to micro-batches.

use super::dataset::Dataset;

/// The rows of a micro-batch, each of its own length; padding comes with the tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of each row.
    pub ids: Vec<Vec<u32>>,
    /// Target of each token.
    pub labels: Vec<Vec<i64>>,
}

/// Collects some rows.
pub fn collate(dataset: &Dataset, rows: &[usize]) -> Batch {
    Batch {
        ids: rows.iter().map(|&row| dataset.ids(row).to_vec()).collect(),
        labels: rows.iter().map(|&row| dataset.labels(row)).collect(),
    }
}

/// The rows of each micro-batch of an epoch; the last one may be smaller.
pub fn batches(order: &[usize], batch_size: usize) -> impl Iterator<Item = &[usize]> {
    order.chunks(batch_size.max(1))
}

//! Rows of an epoch to micro-batches.

use super::dataset::Dataset;
use crate::micro_batch::MicroBatch;

/// Makes a micro-batch of rows, sequence by sequence; short sequences are filled up with `pad_id`.
pub fn collate(dataset: &Dataset, sequences: &[Vec<usize>], pad_id: u32) -> MicroBatch {
    let row = |&row: &usize| (dataset.ids(row).to_vec(), dataset.labels(row));
    let sequences = sequences.iter();
    let sequences = sequences.map(|rows| rows.iter().map(row).collect());
    MicroBatch::end_to_end(sequences.collect(), pad_id)
}

//! How full the sequences of a training are: what part of what is computed is padding.

use std::fmt;

use super::dataset::Dataset;
use super::epoch::{Sequences, epoch};
use crate::settings::TrainSettings;

/// Sequences of the first epoch and their padding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fullness {
    /// Rows that are trained on.
    pub rows: usize,
    /// Sequences that they are in.
    pub sequences: usize,
    /// Most rows of a sequence.
    pub most_rows: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// Most targets of a sequence.
    pub most_targets: usize,
    /// Tokens of all rows, of those that sequences have room for: less than 1 where packed sequences are not full.
    pub filled: f64,
    /// Padding among all tokens of the micro-batches.
    pub padding: f64,
    /// The same, were the rows neither packed nor grouped, in micro-batches of as many rows.
    pub padding_as_they_come: f64,
    /// How the rows come together.
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    AsTheyCome,
    ByLength,
    Packed { most: usize },
}

impl Fullness {
    /// That of a training.
    pub fn of(dataset: &Dataset, settings: &TrainSettings) -> Self {
        let batches = epoch(dataset, settings, 0);
        let rows = dataset.len();
        let sequences = batches.iter().map(Vec::len).sum::<usize>();
        let each = || batches.iter().flatten();
        let longest = each().map(|rows| dataset.tokens(rows)).max().unwrap_or(0);
        let as_they_come = TrainSettings {
            packing: false,
            group_by_length: false,
            per_device_train_batch_size: (settings.per_device_train_batch_size * rows)
                .div_ceil(sequences.max(1)),
            ..settings.clone()
        };
        let most = settings.limits.max_len;
        let room = sequences * most.max(1);
        Self {
            rows,
            sequences,
            most_rows: each().map(Vec::len).max().unwrap_or(0),
            longest,
            most_targets: each().map(|rows| dataset.targets(rows)).max().unwrap_or(0),
            filled: match settings.packing {
                true => dataset.summary().tokens as f64 / room.max(1) as f64,
                false => 1.0,
            },
            padding: padding(dataset, &batches),
            padding_as_they_come: padding(dataset, &epoch(dataset, &as_they_come, 0)),
            how: match (settings.packing, settings.group_by_length) {
                (true, _) => How::Packed { most },
                (_, true) => How::ByLength,
                _ => How::AsTheyCome,
            },
        }
    }
}

/// The share of padding in micro-batches.
fn padding(dataset: &Dataset, batches: &[Sequences]) -> f64 {
    let widths = batches.iter().map(|sequences| {
        let lengths = sequences.iter().map(|rows| dataset.tokens(rows));
        sequences.len() * lengths.max().unwrap_or(0)
    });
    let all = widths.sum::<usize>().max(1);
    1.0 - dataset.summary().tokens as f64 / all as f64
}

impl fmt::Display for Fullness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let [padding, others] = [self.padding, self.padding_as_they_come].map(percent);
        match self.how {
            How::AsTheyCome => write!(f, "padding: {padding} of the tokens of micro-batches"),
            How::ByLength => write!(
                f,
                "padding: {padding} of the tokens of micro-batches of like length, {others} in any order"
            ),
            How::Packed { most } => write!(
                f,
                "packed sequences: {}, up to {most} tokens, {} full; rows of a sequence: mean {:.1}, most {}\n\
                 padding: {padding} of the tokens of micro-batches, {others} of those of as many rows unpacked",
                self.sequences,
                percent(self.filled),
                self.rows as f64 / self.sequences.max(1) as f64,
                self.most_rows
            ),
        }
    }
}

//! What is said of the rows before a training.

use std::collections::BTreeMap;
use std::fmt;

use glmtune_model::rows::IGNORED;
use serde::{Deserialize, Serialize};

use super::token_store::TokenStore;

/// Bars of the histogram of lengths.
const BINS: usize = 8;
/// Width of the longest bar.
const BAR: usize = 30;

/// Numbers of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows that are trained on.
    pub rows: usize,
    /// Rows left out because they would be truncated.
    pub skipped: usize,
    /// Rows of which something was cut off.
    pub truncated: usize,
    /// Rows with an empty answer, which train the end token alone.
    pub without_answer: usize,
    /// Keys that no row form has, with the number of rows that have them.
    pub unused_keys: BTreeMap<String, usize>,
    /// Tokens of all rows.
    pub tokens: usize,
    /// Tokens that are to be predicted.
    pub targets: usize,
    /// Length of the shortest row.
    pub shortest: usize,
    /// Half of the rows are no longer.
    pub median: usize,
    /// 95 of 100 rows are no longer.
    pub percentile_95: usize,
    /// Length of the longest row.
    pub longest: usize,
    /// Rows by length: an upper bound, and how many are no longer and longer than the bound before.
    pub histogram: Vec<(usize, usize)>,
    /// Whether the tokens come from the cache.
    #[serde(skip)]
    pub from_cache: bool,
}

impl Summary {
    /// Takes down the numbers of stored rows.
    pub(super) fn measure(&mut self, store: &TokenStore) {
        let mut lengths: Vec<usize> = Vec::with_capacity(store.ends.len());
        let (mut start, mut targets) = (0, 0);
        for &end in &store.ends {
            let labels = &store.labels[start..end as usize];
            targets += count_targets(labels.iter().map(|&label| i64::from(label)));
            lengths.push(end as usize - start);
            start = end as usize;
        }
        lengths.sort_unstable();
        let at = |share: f64| {
            let index = (lengths.len() as f64 * share).ceil() as usize;
            lengths.get(index.saturating_sub(1)).copied().unwrap_or(0)
        };
        self.rows = lengths.len();
        self.tokens = store.ids.len();
        self.targets = targets;
        self.shortest = lengths.first().copied().unwrap_or(0);
        self.median = at(0.5);
        self.percentile_95 = at(0.95);
        self.longest = lengths.last().copied().unwrap_or(0);
        self.histogram = histogram(&lengths);
    }
}

/// Targets of a row: a first token has nothing to be predicted from.
pub(super) fn count_targets(labels: impl Iterator<Item = i64>) -> usize {
    labels.skip(1).filter(|&label| label != IGNORED).count()
}

/// Bins between the shortest and the longest row, none of them empty.
fn histogram(sorted: &[usize]) -> Vec<(usize, usize)> {
    let (Some(&shortest), Some(&longest)) = (sorted.first(), sorted.last()) else {
        return Vec::new();
    };
    let width = (longest + 1 - shortest).div_ceil(BINS).max(1);
    (0..BINS)
        .map(|bin| {
            let (from, end) = (shortest + bin * width, shortest + (bin + 1) * width);
            let count = sorted.partition_point(|&length| length < end)
                - sorted.partition_point(|&length| length < from);
            ((end - 1).min(longest), count)
        })
        .filter(|&(_, count)| count > 0)
        .collect()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.targets as f64 / self.tokens.max(1) as f64;
        let cached = if self.from_cache {
            " (tokens from the cache)"
        } else {
            ""
        };
        writeln!(
            f,
            "rows: {}, skipped: {}, truncated: {}{cached}",
            self.rows, self.skipped, self.truncated
        )?;
        if self.without_answer > 0 {
            writeln!(
                f,
                "rows without an answer: {} (they train the end token alone)",
                self.without_answer
            )?;
        }
        if !self.unused_keys.is_empty() {
            let keys = self.unused_keys.iter();
            let keys = keys.map(|(key, rows)| format!("`{}` ({rows} rows)", key.escape_debug()));
            writeln!(f, "keys not used: {}", keys.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(
            f,
            "tokens: {}, targets: {} ({share:.1} %), ignored: {}",
            self.tokens,
            self.targets,
            self.tokens - self.targets
        )?;
        writeln!(
            f,
            "row length: shortest {}, median {}, 95 % up to {}, longest {}",
            self.shortest, self.median, self.percentile_95, self.longest
        )?;
        let most = self.histogram.iter().map(|&(_, count)| count).max();
        for &(to, count) in &self.histogram {
            let bar = "#".repeat((count * BAR).div_ceil(most.unwrap_or(1).max(1)));
            writeln!(f, "  up to {to:>6}: {count:>7} {bar}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use glmtune_model::rows::TrainingRow;

    use super::*;

    #[test]
    fn numbers_of_a_small_set() {
        let mut store = TokenStore::default();
        for length in [2usize, 4, 4, 16] {
            let mut labels = vec![IGNORED; length];
            labels[length - 1] = 5;
            let row = TrainingRow {
                input_ids: vec![1; length],
                labels,
            };
            store.push(1, &row);
        }
        let mut summary = Summary {
            skipped: 3,
            truncated: 1,
            ..Summary::default()
        };
        summary.measure(&store);
        assert_eq!(
            (summary.rows, summary.skipped, summary.truncated),
            (4, 3, 1)
        );
        assert_eq!((summary.tokens, summary.targets), (26, 4));
        assert_eq!((summary.shortest, summary.median), (2, 4));
        assert_eq!((summary.percentile_95, summary.longest), (16, 16));
        let counts: Vec<(usize, usize)> = summary.histogram.clone();
        assert_eq!(counts, [(3, 1), (5, 2), (16, 1)]);
        assert!(summary.to_string().contains("targets: 4 (15.4 %)"));
    }

    #[test]
    fn no_bin_is_empty_and_every_row_is_in_one() {
        for lengths in [
            vec![300],
            vec![7; 40],
            vec![0, 1, 1000],
            (290..=310).collect(),
            vec![],
        ] {
            let bins = histogram(&lengths);
            assert!(bins.iter().all(|bin| bin.1 > 0), "{bins:?}");
            assert!(bins.is_sorted_by(|a, b| a.0 < b.0), "{bins:?}");
            assert_eq!(bins.iter().map(|bin| bin.1).sum::<usize>(), lengths.len());
            assert_eq!(bins.last().map(|bin| bin.0), lengths.last().copied());
        }
    }
}

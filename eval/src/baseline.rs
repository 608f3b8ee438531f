//! Two models' answers to the same rows: what each score was before, and whether the difference is noise.

use std::path::Path;

use crate::bootstrap::{self, Difference};
use crate::error::{Error, Result};
use crate::predictions::Prediction;
use crate::task::Scored;

/// How far a mean may be from one that is added up in another order.
const ROUNDING: f64 = 1e-9;

/// A score before, and how it changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The score's name.
    pub name: String,
    /// What it was before.
    pub before: f64,
    /// How the rows differ.
    pub difference: Difference,
}

/// That two files answer the same rows in the same order.
///
/// # Errors
/// With the first row of the baseline that is another.
pub fn check_pairs(
    (path, rows): (&Path, &[Prediction]),
    (baseline, before): (&Path, &[Prediction]),
) -> Result<()> {
    check_lengths((path, rows), (baseline, before))?;
    let pairs = &mut rows.iter().zip(before);
    match pairs.find(|(now, then)| !now.asks_the_same(then)) {
        Some((_, then)) => Err(then.wrong(
            "this row is another than that of the predictions; a baseline answers the same rows",
        )),
        None => Ok(()),
    }
}

/// That two files have the same number of rows.
///
/// # Errors
/// If they have not.
pub fn check_lengths(
    (path, rows): (&Path, &[Prediction]),
    (baseline, before): (&Path, &[Prediction]),
) -> Result<()> {
    match before.len() == rows.len() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "{} has {} rows and {} has {}; a baseline answers the same rows",
            path.display(),
            rows.len(),
            baseline.display(),
            before.len()
        ))),
    }
}

/// The change of each score that every row has and whose value of the whole is the mean over rows: a count of all
/// rows says nothing that an interval could be drawn around.
pub fn changes(now: &Scored, before: &Scored) -> Vec<Change> {
    let names = before.whole.iter();
    names
        .filter(|(name, _)| is_mean(now, name) && is_mean(before, name))
        .filter_map(|(name, value)| {
            let pairs = now.rows.iter().zip(&before.rows);
            let differences: Option<Vec<f64>> = pairs
                .map(|(now, then)| Some(now.get(name)? - then.get(name)?))
                .collect();
            Some(Change {
                name: name.to_string(),
                before: value,
                difference: bootstrap::paired(&differences?),
            })
        })
        .collect()
}

fn is_mean(scored: &Scored, name: &str) -> bool {
    let of_rows: Option<Vec<f64>> = scored.rows.iter().map(|row| row.get(name)).collect();
    let (Some(of_rows), Some(whole)) = (of_rows, scored.whole.get(name)) else {
        return false;
    };
    let mean = of_rows.iter().sum::<f64>() / of_rows.len().max(1) as f64;
    (mean - whole).abs() < ROUNDING
}

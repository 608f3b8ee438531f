//! Scores as a table for people.

use std::fmt::Write;

use crate::bootstrap::Difference;
use crate::scores::Scores;

/// A line for each score; with a baseline, what it was before and how sure the difference is.
pub fn table(whole: &Scores, baseline: Option<&[(String, f64, Difference)]>) -> String {
    let width = whole
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, value) in whole.iter() {
        let pad = width - name.chars().count();
        let _ = write!(text, "{name}{:pad$}  {}", "", number(value));
        let before = baseline.and_then(|rows| rows.iter().find(|(other, ..)| other == name));
        if let Some((_, before, difference)) = before {
            let _ = write!(
                text,
                "  before {}, {:+.4} (95 %: {:+.4} to {:+.4}{})",
                number(*before),
                difference.mean,
                difference.low,
                difference.high,
                if difference.is_significant() {
                    ""
                } else {
                    "; could be noise"
                }
            );
        }
        text.push('\n');
    }
    text
}

/// Counts as they are, shares with four places.
fn number(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() >= 2.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.4}"),
    }
}

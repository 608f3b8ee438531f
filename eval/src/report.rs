//! Scores as a table for people.

use std::fmt::Write;

use crate::abilities::{Course, Measured, Report};
use crate::baseline::Change;
use crate::bootstrap::Difference;
use crate::questions::sheet::Agreement;
use crate::scores::Scores;

/// A line for each score; with a baseline, what it was before and how sure the difference is.
pub fn table(whole: &Scores, baseline: Option<&[Change]>) -> String {
    let width = whole
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, value) in whole.iter() {
        let pad = width - name.chars().count();
        let _ = write!(text, "{name}{:pad$}  {}", "", number(value));
        let before = baseline.and_then(|rows| rows.iter().find(|change| change.name == name));
        if let Some(change) = before {
            let _ = write!(
                text,
                "  before {}, {}",
                number(change.before),
                shown(&change.difference)
            );
        }
        text.push('\n');
    }
    text
}

/// Abilities before and after, what was kept of them, and their loss.
pub fn abilities(report: &Report) -> String {
    let rows = report.abilities.iter().map(|one| (one.name.as_str(), one));
    let rows: Vec<(&str, &Measured)> = rows.chain([("all", &report.all)]).collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (name, measured) in rows {
        let pad = width - name.chars().count();
        let _ = write!(text, "{name}{:pad$}  {:>5} rows", "", measured.rows);
        let _ = write!(text, "  score {}", course(&measured.score));
        if let Some(kept) = measured.score.kept {
            let _ = write!(
                text,
                "  kept {:.1} % ({:.1} to {:.1})",
                kept.percent, kept.low, kept.high
            );
        }
        if let Some(loss) = &measured.loss {
            let _ = write!(text, "  loss {}", course(loss));
        }
        text.push('\n');
    }
    text
}

/// People's scores beside the automatic ones.
pub fn agreement(found: &Agreement) -> String {
    let width = found.scores.iter().map(|score| score.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = format!("people scored {} of {} rows\n", found.scored, found.rows);
    for score in &found.scores {
        let correlation = match score.correlation {
            Some(correlation) => format!("rank correlation {correlation:.3}"),
            None => "no rank correlation: one of them does not vary".to_string(),
        };
        let _ = writeln!(
            text,
            "{:width$}  people {:.4}, automatic {:.4}, {correlation}",
            score.name, score.people, score.automatic
        );
    }
    text
}

fn course(course: &Course) -> String {
    let mut text = number(course.after);
    if let (Some(before), Some(difference)) = (course.before, &course.difference) {
        let _ = write!(text, ", before {}, {}", number(before), shown(difference));
    }
    text
}

/// A difference and how sure it is.
fn shown(difference: &Difference) -> String {
    let doubt = match difference.is_significant() {
        true => "",
        false => "; could be noise",
    };
    let Difference { mean, low, high } = difference;
    format!("{mean:+.4} (95 %: {low:+.4} to {high:+.4}{doubt})")
}

/// Counts as they are, shares with four places.
fn number(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() >= 2.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.4}"),
    }
}

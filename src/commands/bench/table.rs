//! Results for people: a line for each thing that was measured.

use glmtune_model::printable::printable;

use super::measured::{Found, Spread};
use super::results::{Entry, Results, share};
use crate::commands::console::human_bytes;

/// The columns.
const HEAD: [&str; 10] = [
    "",
    "first",
    "median",
    "min – max",
    "n",
    "tokens/s",
    "products",
    "memory",
    "peak, process",
    "peak, device",
];
/// The column that only a published table fills.
const PUBLISHED: &str = "published";

/// The results as lines.
pub fn table(results: &Results, entries: &[&Entry]) -> String {
    let mut text = String::new();
    let mut at = None;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for entry in entries {
        let place = (&entry.key.model, &entry.key.device, &entry.dtype);
        // What has failed does not tell its type.
        let is_new = match at {
            Some((model, device, _)) if entry.dtype.is_empty() => {
                (model, device) != (place.0, place.1)
            }
            _ => at != Some(place),
        };
        if is_new {
            text.push_str(&aligned(&std::mem::take(&mut rows)));
            let (model, device, dtype) = place;
            text.push_str(&format!("{}, {device}, {dtype}\n", printable(model)));
            rows.push(HEAD.map(str::to_string).to_vec());
            at = Some(place);
        }
        rows.extend(lines(results, entry));
        let published = entry.published_gb.filter(|_| entry.failed.is_empty());
        if let (Some(gb), Some(head)) = (published, rows.first_mut()) {
            if head.len() == HEAD.len() {
                head.push(PUBLISHED.to_string());
            }
            if let Some(row) = rows.last_mut() {
                row.push(format!("{gb} GB"));
            }
        }
    }
    text + &aligned(&rows)
}

fn lines(results: &Results, entry: &Entry) -> Vec<Vec<String>> {
    if let Some(reason) = entry.failed.first() {
        return vec![vec![
            entry.name.clone(),
            format!("failed: {}", printable(reason)),
        ]];
    }
    let ceilings = results.ceilings(&entry.key);
    let measured = entry.measured.iter().enumerate();
    measured
        .map(|(index, found)| {
            let operations = found.rate(found.operations);
            let bytes = found.rate(found.bytes);
            let peak = |bytes: Option<u64>| match (index, bytes) {
                (0, Some(bytes)) => human_bytes(bytes as f64),
                _ => String::new(),
            };
            let Spread { median, min, max } = found.seconds;
            vec![
                name(entry, found),
                time(found.first_seconds),
                time(median),
                format!("{} – {}", time(min), time(max)),
                found.repetitions.to_string(),
                found.rate(found.tokens).map_or(String::new(), number),
                part(operations, "FLOP/s", share(operations, ceilings.operations)),
                part(bytes, "B/s", share(bytes, ceilings.bytes)),
                peak(entry.process_peak_bytes),
                peak(entry.device_peak_bytes),
            ]
        })
        .collect()
}

fn name(entry: &Entry, found: &Found) -> String {
    match found.name.is_empty() {
        true => entry.name.clone(),
        false => format!("{}: {}", entry.name, found.name),
    }
}

/// A rate, and which part of its ceiling that is.
fn part(rate: Option<f64>, unit: &str, share: Option<f64>) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let Some(rate) = rate else {
        return String::new();
    };
    let (step, letter) = STEPS
        .into_iter()
        .find(|(step, _)| rate >= *step)
        .unwrap_or((1.0, ""));
    let share = share.map_or(String::new(), |share| format!(", {:.0} %", 100.0 * share));
    format!("{:.1} {letter}{unit}{share}", rate / step)
}

fn number(rate: f64) -> String {
    match rate {
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 0.1 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", 1e3 * s),
        s => format!("{:.1} µs", 1e6 * s),
    }
}

/// Cells under each other; a column in which nothing stands is left out.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().skip(1).filter(|row| row.len() > 2);
        let widest = cells.filter_map(|row| row.get(column).map(|cell| cell.chars().count()));
        widest.max().unwrap_or(0)
    };
    let head = |column: usize| {
        let head = rows.first().and_then(|row| row.get(column));
        head.map_or(0, |cell| cell.chars().count())
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| match width(column) {
            0 => 0,
            width => width.max(head(column)),
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let is_failure = row.len() == 2 && column == 1;
            if width == 0 && !is_failure {
                continue;
            }
            let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
            match column {
                0 => line.push_str(&format!("  {cell}{fill}")),
                _ if is_failure => line.push_str(&format!("  {cell}")),
                _ => line.push_str(&format!("  {fill}{cell}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(part(Some(2.5e9), "B/s", Some(0.5)), "2.5 GB/s, 50 %");
        assert_eq!(part(None, "B/s", Some(0.5)), "");
        assert_eq!(time(0.25), "0.25 s");
        assert_eq!(time(0.0025), "2.50 ms");
        assert_eq!(number(3.21), "3.21");
    }

    #[test]
    fn empty_columns_are_left_out_and_failures_are_not_cut() {
        let row = |cells: [&str; 4]| cells.map(str::to_string).to_vec();
        let rows = [
            row(["", "a", "bb", "c"]),
            row(["long name", "1", "", "3"]),
            vec!["x".to_string(), "failed: because of much".to_string()],
        ];
        let expected =
            "             a  c\n  long name  1  3\n  x          failed: because of much\n";
        assert_eq!(aligned(&rows), expected);
    }
}

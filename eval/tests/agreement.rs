//! The scores agree with values that were not made here: those of the official scripts' libraries, and those of
//! people. The files are for development; a stranger's clone has none of them, and the tests say so.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use glmtune_eval::correlation::spearman;
use glmtune_eval::questions::Questions;
use glmtune_eval::task::score_all;
use glmtune_eval::text::Text;
use glmtune_eval::triples::Triples;
use glmtune_eval::{Prediction, Task, predictions};

/// Largest difference from the libraries' scores.
const TOLERANCE: f64 = 1e-6;

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(path);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Every score that the file gives is the one that the task computes.
fn assert_scores(task: &dyn Task, rows: &[Prediction]) -> glmtune_eval::Result<()> {
    let mut compared = 0;
    for (number, row) in rows.iter().enumerate() {
        let found = task.score(row)?;
        let expected = row.fields()["scores"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, value) in expected.iter().filter(|(_, value)| value.is_number()) {
            let (expected, found) = (
                value.as_f64().unwrap_or(f64::NAN),
                found.get(name).unwrap_or(f64::NAN),
            );
            assert!(
                (expected - found).abs() <= TOLERANCE,
                "row {number}, {name}: {found}, expected {expected}: {:?}",
                row.fields()
            );
            compared += 1;
        }
    }
    assert!(compared > 4 * rows.len(), "only {compared} values");
    Ok(())
}

#[test]
fn text_scores_are_those_of_the_official_scripts() -> glmtune_eval::Result<()> {
    let Some(path) = shared("golden/metrics/text.jsonl") else {
        return Ok(());
    };
    let rows = predictions::read(&path)?;
    for (number, row) in rows.iter().enumerate() {
        for (key, text) in [
            ("words_prediction", row.generated()?[0]),
            ("words_reference", row.reference()?),
        ] {
            let words = serde_json::json!(glmtune_eval::text::words(text));
            assert_eq!(words, row.fields()["scores"][key], "row {number}");
        }
    }
    assert_scores(&Text, &rows)
}

#[test]
fn triples_are_scored_by_the_python_projects_rule() -> glmtune_eval::Result<()> {
    let Some(path) = shared("golden/metrics/triples.jsonl") else {
        return Ok(());
    };
    assert_scores(&Triples, &predictions::read(&path)?)
}

#[test]
fn question_scores_agree_with_people() -> glmtune_eval::Result<()> {
    let Some(path) = shared("data/question_scores/scored_0-9.jsonl") else {
        return Ok(());
    };
    let rows = predictions::read(&path)?;
    let people: Vec<f64> = rows
        .iter()
        .map(|row| row.number("total"))
        .collect::<glmtune_eval::Result<_>>()?;
    let scored = score_all(&Questions, &rows)?;
    let ours: Vec<f64> = scored
        .rows
        .iter()
        .map(|row| row.get("total").unwrap_or(f64::NAN))
        .collect();
    let correlation = spearman(&people, &ours).unwrap_or(f64::NAN);
    println!("rank correlation with people: {correlation:.3}");
    assert!(correlation >= 0.75, "{correlation}");
    let method = |row: &Prediction| {
        row.fields()["method"]
            .as_str()
            .unwrap_or_default()
            .to_string()
    };
    let mut methods: Vec<String> = rows.iter().map(method).collect();
    methods.sort();
    methods.dedup();
    for name in methods {
        let of = |totals: &[f64]| {
            let own: Vec<f64> = rows
                .iter()
                .zip(totals)
                .filter(|(row, _)| method(row) == name)
                .map(|(_, &total)| total)
                .collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        let (people, ours) = (of(&people), of(&ours));
        println!("{name}: people {people:.2}, scorer {ours:.2}");
        assert!(
            (people - ours).abs() <= 0.3,
            "{name}: {ours}, people {people}"
        );
    }
    Ok(())
}

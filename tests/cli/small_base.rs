//! The small base of the examples: it loads, and it can do what it was taught.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::glmtune;

/// The share of copies that must be right; its README says what it reaches.
const FLOOR: f64 = 0.7;
const ROWS: usize = 10;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/small-base")
        .join(name)
}

fn rows(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(example(name)).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// What the base answers to a row.
fn answer(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap();
    let prompt = text("instruction").to_string() + text("input");
    let model = example("model");
    let args = ["generate", "--model-name-or-path", model.to_str().unwrap()];
    let rest = ["--prompt", &prompt, "--max-new-tokens", "40"];
    let answer = glmtune(&[&args[..], &rest[..]].concat()).success();
    answer.trim_end_matches('\n').to_string()
}

#[test]
fn the_shipped_base_copies_what_it_has_never_seen() {
    let rows = rows("data/abilities.jsonl");
    let copying = rows.iter().filter(|row| row["ability"] == "copying");
    let right = copying
        .take(ROWS)
        .filter(|row| answer(row) == row["output"].as_str().unwrap())
        .count();
    assert!(right as f64 >= FLOOR * ROWS as f64, "{right} of {ROWS}");
}

#[test]
fn the_shipped_base_is_small() {
    let files = std::fs::read_dir(example("model")).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 12_000_000, "{bytes} bytes");
}

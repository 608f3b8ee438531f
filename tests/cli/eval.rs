//! `glmtune eval`: the program's scores, details, comparison, and what it says of files that it cannot use.

use serde_json::{Value, json};

use crate::{file, glmtune};

const GOOD: &str = r#"{"input": "一", "output": "a_r_b\na_s_c", "generated": "a_r_b\na_s_c"}
{"input": "二", "output": "d_r_e", "generated": "d_r_e"}"#;
const POOR: &str = r#"{"input": "一", "output": "a_r_b\na_s_c", "generated": "a_r_b"}
{"input": "二", "output": "d_r_e", "generated": "no triple"}"#;

#[test]
fn triples_as_json_with_details_and_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let (good, poor) = (
        file(&dir, "good.jsonl", GOOD),
        file(&dir, "poor.jsonl", POOR),
    );
    let details = dir.path().join("details.jsonl").display().to_string();
    let args = [
        "eval",
        "--task",
        "triples",
        "--predictions",
        &good,
        "--baseline",
        &poor,
    ];
    let found = glmtune(&[&args[..], &["--details", &details, "--json"]].concat()).json_lines();
    let [report] = &found[..] else {
        panic!("one object, found {found:?}");
    };
    assert_eq!(
        (&report["task"], &report["rows"]),
        (&json!("triples"), &json!(2))
    );
    assert_eq!(
        (&report["f1"], &report["micro_f1"]),
        (&json!(1.0), &json!(1.0))
    );
    let before = report["baseline"]["f1"]["before"].as_f64().unwrap();
    assert!((before - 1.0 / 3.0).abs() < 1e-12, "{before}");
    let rows = std::fs::read_to_string(details).unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(rows[1]["input"], "二");
    assert_eq!(rows[1]["scores"]["hits"], 1.0);
}

#[test]
fn a_table_says_what_its_scores_are() {
    let dir = tempfile::tempdir().unwrap();
    let rows = file(&dir, "p.jsonl", POOR);
    let table = glmtune(&["eval", "--task", "text", "--predictions", &rows]).success();
    for expected in [
        "text, 2 rows",
        "bleu-4-char",
        "rouge-l-jieba",
        "scaled 0 to 1",
    ] {
        assert!(table.contains(expected), "{expected}: {table}");
    }
    let table = glmtune(&[
        "eval",
        "--task",
        "triples",
        "--predictions",
        &rows,
        "--baseline",
        &rows,
    ])
    .success();
    assert!(table.contains("could be noise"), "{table}");
}

#[test]
fn perplexity_counts_every_token_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rows = file(
        &dir,
        "s.jsonl",
        "{\"loss\": 1.0, \"tokens\": 3}\n{\"loss\": 3.0, \"tokens\": 1}\n",
    );
    let found = glmtune(&[
        "eval",
        "--task",
        "perplexity",
        "--predictions",
        &rows,
        "--json",
    ])
    .json_lines();
    assert_eq!(found[0]["loss"], 1.5);
}

#[test]
fn files_that_cannot_be_used_are_refused_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(&dir, "good.jsonl", GOOD);
    let cases = [
        ("{\"output\": \"a\"}", "bad.jsonl, line 1: no `generated`"),
        (
            "{\"output\": \"a\", \"generated\": \"b\"}\n{]",
            "bad.jsonl, line 2: not JSON",
        ),
        ("", "bad.jsonl: no rows"),
    ];
    for (text, expected) in cases {
        let bad = file(&dir, "bad.jsonl", text);
        let message = glmtune(&["eval", "--task", "triples", "--predictions", &bad]).failure(2);
        assert!(message.contains(expected), "{message}");
    }
    let other = file(&dir, "other.jsonl", &GOOD.replace("二", "三"));
    let args = [
        "eval",
        "--task",
        "triples",
        "--predictions",
        &good,
        "--baseline",
        &other,
    ];
    let message = glmtune(&args).failure(2);
    assert!(
        message.contains("other.jsonl, line 2: this row is another"),
        "{message}"
    );
    let message =
        glmtune(&["eval", "--task", "text", "--predictions", "/nowhere.jsonl"]).failure(2);
    assert!(message.contains("/nowhere.jsonl"), "{message}");
}

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

/// As an editor may have saved it, with a mark before the first line and other ends of lines; rows that stand there
/// twice count twice, and some may have several answers.
#[test]
fn files_that_were_saved_otherwise_have_the_same_scores() {
    let dir = tempfile::tempdir().unwrap();
    let plain = file(&dir, "plain.jsonl", GOOD);
    let edited = format!("\u{feff}{}\r\n\r\n", GOOD.replace('\n', "\r\n"));
    let edited = file(&dir, "edited.jsonl", &edited);
    let twice = file(&dir, "twice.jsonl", &format!("{GOOD}\n{GOOD}\n"));
    let list = GOOD.replace(
        r#""generated": "d_r_e""#,
        r#""generated": ["d_r_e", "d_r_e"]"#,
    );
    let list = file(&dir, "list.jsonl", &list);
    let score = |path: &str| {
        let args = ["eval", "--task", "triples", "--json", "--predictions", path];
        glmtune(&args).json_lines().remove(0)
    };
    let expected = score(&plain);
    assert_eq!(score(&edited), expected);
    assert_eq!(score(&list), expected);
    let found = score(&twice);
    assert_eq!((&found["rows"], &found["f1"]), (&json!(4), &expected["f1"]));
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
    let first = r#"{"output": "a", "generated": "b"}"#;
    let cases = [
        (r#"{"output": "a"}"#, "no `generated`"),
        (
            r#"{"output": "a", "generated": 3}"#,
            "`generated` must be a string",
        ),
        (
            r#"{"output": "a", "generated": null}"#,
            "`generated` must be a string",
        ),
        (
            r#"{"output": "a", "generated": {"text": "b"}}"#,
            "`generated` must be a string",
        ),
        (
            r#"{"output": "a", "generated": []}"#,
            "a list of strings that is not empty",
        ),
        (
            r#"{"output": "a", "generated": ["b", ["c"]]}"#,
            "`generated` holds [\"c\"]",
        ),
        (r#"{"generated": "b"}"#, "no `output` or `answer`"),
        (
            r#"{"answer": ["a"], "generated": "b"}"#,
            "`answer` must be a string",
        ),
        (r#"{"output": "a", "generated": NaN}"#, "not JSON"),
        (
            r#"{"output": "a", "generated": "b", "loss": 1e999}"#,
            "not JSON",
        ),
        ("{]", "not JSON"),
        ("a_r_b", "not JSON"),
        (r#"{"output": "a", "generated": "b"#, "not JSON"),
        (
            "\u{feff}{\"output\": \"a\", \"generated\": \"b\"}",
            "not JSON",
        ),
        (r#"["a", "b"]"#, "a row is one JSON object"),
        ("null", "a row is one JSON object"),
    ];
    for (text, expected) in cases {
        let bad = file(&dir, "bad.jsonl", &format!("{first}\n{text}\n"));
        let message = glmtune(&["eval", "--task", "triples", "--predictions", &bad]).failure(2);
        let place = format!("bad.jsonl, line 2: {expected}");
        let found = message.split_once("bad.jsonl, line 2: ");
        assert!(
            found.is_some_and(|(_, why)| why.contains(expected)),
            "{place}: {message}"
        );
    }
    for text in ["", "\n\r\n"] {
        let bad = file(&dir, "bad.jsonl", text);
        let message = glmtune(&["eval", "--task", "triples", "--predictions", &bad]).failure(2);
        assert!(message.contains("bad.jsonl: no rows"), "{message}");
    }
    let bytes = dir.path().join("bytes.jsonl").display().to_string();
    std::fs::write(&bytes, b"{\"output\": \"a\", \"generated\": \"\xff\"}").unwrap();
    let message = glmtune(&["eval", "--task", "triples", "--predictions", &bytes]).failure(2);
    assert!(
        message.contains("bytes.jsonl, line 1: not UTF-8"),
        "{message}"
    );
    for loss in ["NaN", "null", "\"1\""] {
        let row = format!("{{\"loss\": {loss}, \"tokens\": 3}}");
        let bad = file(&dir, "bad.jsonl", &row);
        let message = glmtune(&["eval", "--task", "perplexity", "--predictions", &bad]).failure(2);
        assert!(message.contains("bad.jsonl, line 1: "), "{message}");
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

#[test]
fn abilities_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let row = |ability: &str, input: &str, generated: &str, loss: f64| {
        format!(
            "{{\"ability\": \"{ability}\", \"input\": \"{input}\", \"output\": \"x\", \
             \"generated\": \"{generated}\", \"loss\": {loss}}}\n"
        )
    };
    let rows = |copied: &str, loss: f64| {
        let copies: String = (0..20)
            .map(|index| row("copy", &index.to_string(), copied, loss))
            .collect();
        copies + &row("sum", "1+1", "x", 1.0)
    };
    let after = file(&dir, "after.jsonl", &rows("y", 2.0));
    let before = file(&dir, "before.jsonl", &rows("x", 1.0));
    let args = ["eval", "--task", "abilities", "--predictions", &after];
    let compared = [&args[..], &["--baseline", &before]].concat();
    let found = glmtune(&[&compared[..], &["--json"]].concat()).json_lines();
    let found = &found[0];
    assert_eq!(found["rows"], 21);
    assert_eq!(found["score"]["kept"]["percent"], 50.0);
    assert_eq!(found["abilities"][0]["name"], "copy");
    assert_eq!(found["abilities"][0]["score"]["after"], 0.0);
    assert_eq!(found["abilities"][0]["loss"]["difference"]["mean"], 1.0);
    assert_eq!(found["abilities"][1]["score"]["kept"]["percent"], 100.0);
    let table = glmtune(&compared).success();
    assert!(table.contains("kept 50.0 %"), "{table}");
    let alone = glmtune(&args).success();
    assert!(
        alone.contains("copy") && !alone.contains("kept 50"),
        "{alone}"
    );

    let torn = file(
        &dir,
        "torn.jsonl",
        &rows("y", 2.0).replace("\"ability\": \"sum\", ", ""),
    );
    let message = glmtune(&["eval", "--task", "abilities", "--predictions", &torn]).failure(2);
    assert!(
        message.contains("torn.jsonl, line 21: no `ability`"),
        "{message}"
    );
}

#[test]
fn people_score_questions_on_a_sheet() {
    let dir = tempfile::tempdir().unwrap();
    let rows = file(
        &dir,
        "p.jsonl",
        "{\"text\": \"水是液体。\", \"generated\": [\"水是什么?\"]}\n\
         {\"text\": \"火很热。\", \"generated\": [\"火\"]}\n",
    );
    let sheet = dir.path().join("s.csv").display().to_string();
    let args = ["eval", "--task", "questions", "--predictions", &rows];
    let export = [&args[..], &["--sheet", &sheet]].concat();
    glmtune(&export).success();
    let text = std::fs::read_to_string(&sheet).unwrap();
    assert!(text.starts_with('\u{feff}'));
    let message = glmtune(&export).failure(2);
    assert!(message.contains("may hold people's scores"), "{message}");

    let filled = text
        .replacen(",,,,,", ",1,1,1,1,1", 1)
        .replacen(",,,,,", ",1,0,0,0,1", 1);
    std::fs::write(&sheet, filled).unwrap();
    let read = [&args[..], &["--scored", &sheet]].concat();
    let found = glmtune(&[&read[..], &["--json"]].concat()).json_lines();
    let people = &found[0]["people"];
    assert_eq!(people["scored"], 2);
    assert_eq!(people["scores"][5]["people"], 3.5);
    assert_eq!(people["scores"][5]["correlation"], 1.0);
    let table = glmtune(&read).success();
    assert!(table.contains("people scored 2 of 2 rows"), "{table}");

    let message = glmtune(&[
        "eval",
        "--task",
        "text",
        "--predictions",
        &rows,
        "--sheet",
        &sheet,
    ])
    .failure(2);
    assert!(message.contains("--task questions"), "{message}");
}

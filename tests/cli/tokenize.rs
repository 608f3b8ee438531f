//! `tokenize`.

use crate::{file, glmtune, tiny};

#[test]
fn texts_and_training_rows() {
    let (dir, model) = tiny("glm3");
    let input = file(
        &dir,
        "texts.jsonl",
        "{\"text\": \"a [gMASK] 好\"}\n\n{\"text\": \"\"}\n",
    );
    let lines = glmtune(&[
        "tokenize",
        "--model_name_or_path",
        &model,
        "--input",
        &input,
    ])
    .json_lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["decoded"], "a [gMASK] 好");
    assert_eq!(lines[0]["ids"].as_array().unwrap().len(), 13);

    let row = "{\"instruction\": \"ab\", \"input\": \"c\", \"output\": \"xyz\"}";
    let rows = file(&dir, "rows.jsonl", &format!("{row}\n{row}"));
    let args = [
        "tokenize",
        "--model_name_or_path",
        &model,
        "--train_path",
        &rows,
    ];
    let run = |extra: &[&str]| glmtune(&[&args[..], extra].concat());
    let whole = run(&["--max_len", "64", "--max_src_len", "32"]).success();
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    // [gMASK] sop <|user|> \n a b c <|assistant|> \n x y z </s>
    assert_eq!(first["input_ids"].as_array().unwrap().len(), 13);
    let labels = first["labels"].as_array().unwrap();
    assert_eq!(labels.iter().filter(|label| **label == -100).count(), 7);

    // What comes out goes in again, as it is.
    let again = file(&dir, "again.jsonl", &whole);
    let args = [
        "tokenize",
        "--model_name_or_path",
        &model,
        "--train_path",
        &again,
    ];
    assert_eq!(glmtune(&args).success(), whole);

    let skipped = run(&["--max_len", "64", "--max_src_len", "3", "--is_skip"]);
    assert!(skipped.stderr.contains('2'), "{}", skipped.stderr);
    assert_eq!(skipped.success(), "");
}

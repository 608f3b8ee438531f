//! Rows in all their forms, and settings that would train on nothing.

use std::path::Path;

use crate::{Run, file, glmtune, tiny};

const ROW: &str = r#"{"instruction": "a ", "input": "b", "output": "c d e"}"#;

/// The training rows of a file, as `tokenize` writes them.
fn tokenized(model: &str, rows: &str, more: &[&str]) -> Run {
    let mut args = vec![
        "tokenize",
        "--model_name_or_path",
        model,
        "--train_path",
        rows,
    ];
    args.extend(more);
    glmtune(&args)
}

fn train(dir: &tempfile::TempDir, model: &str, rows: &str, more: &[&str]) -> Run {
    let rows = file(dir, "rows.jsonl", rows);
    let output = dir.path().join("out").display().to_string();
    let mut args = vec![
        "train",
        "--model_name_or_path",
        model,
        "--train_path",
        &rows,
    ];
    args.extend([
        "--output_dir",
        &output,
        "--no_cache",
        "--backend",
        "flex",
        "--max_steps",
        "1",
    ]);
    args.extend(more);
    glmtune(&args)
}

#[test]
fn every_form_of_a_row_gives_the_same_tokens() {
    let (dir, model) = tiny("glm2");
    let plain = file(&dir, "plain.jsonl", ROW);
    let expected = tokenized(&model, &plain, &[]).success();
    let first_release = file(&dir, "first.jsonl", r#"{"text": "b", "answer": "c d e"}"#);
    let found = tokenized(&model, &first_release, &["--prompt_text", "a "]).success();
    assert_eq!(found, expected);
    let named = file(
        &dir,
        "named.json",
        r#"[{"q": "a ", "more": "b", "a": "c d e", "id": 1}]"#,
    );
    let columns = [
        "--prompt_column",
        "q",
        "--query_column",
        "more",
        "--response_column",
        "a",
    ];
    assert_eq!(tokenized(&model, &named, &columns).success(), expected);
    let ids = file(&dir, "ids.jsonl", &expected);
    assert_eq!(tokenized(&model, &ids, &[]).success(), expected);
}

#[test]
fn a_training_takes_columns_by_name_and_says_what_it_leaves() {
    let (dir, model) = tiny("glm2");
    let rows = "{\"q\": \"a\", \"a\": \"b\", \"id\": 1}\n{\"q\": \"a\", \"a\": \"\", \"id\": 2}\n";
    let columns = ["--prompt_column", "q", "--response_column", "a"];
    let said = train(&dir, &model, rows, &columns).success();
    assert!(said.contains("keys not used: `id` (2 rows)"), "{said}");
    assert!(said.contains("rows without an answer: 1"), "{said}");
    let settings = std::fs::read_to_string(dir.path().join("out/settings.toml")).unwrap();
    assert!(settings.contains("prompt_column = \"q\""), "{settings}");
    let error = train(&dir, &model, rows, &[]).failure(2);
    assert!(
        error.contains("rows.jsonl:1: key `instruction` is missing"),
        "{error}"
    );
    assert!(error.contains("--prompt_column"), "{error}");
}

#[test]
fn earlier_rounds_and_system_messages_are_never_dropped() {
    let (dir, model) = tiny("glm2");
    for (key, value) in [
        ("history", "[[\"a\", \"b\"]]"),
        ("system", "\"be brief\""),
        ("messages", "[{\"role\": \"user\", \"content\": \"a\"}]"),
    ] {
        let row = format!("{{\"instruction\": \"a\", \"output\": \"c\", \"{key}\": {value}}}");
        let rows = format!("{ROW}\n{row}\n");
        let error = train(&dir, &model, &rows, &[]).failure(2);
        let named = format!("rows.jsonl:2: key `{key}`");
        assert!(error.contains(&named), "{error}");
        let path = file(&dir, "more.jsonl", &rows);
        let error = tokenized(&model, &path, &[]).failure(2);
        assert!(
            error.contains(&format!("more.jsonl:2: key `{key}`")),
            "{error}"
        );
    }
    let empty = r#"{"instruction": "a", "output": "c", "history": [], "system": ""}"#;
    train(&dir, &model, empty, &[]).success();
}

#[test]
fn limits_without_room_for_an_answer_are_refused() {
    let (dir, model) = tiny("glm2");
    for limits in [["10", "200"], ["100", "100"], ["64", "61"], ["64", "65"]] {
        let limits = ["--max_len", limits[0], "--max_src_len", limits[1]];
        let error = train(&dir, &model, ROW, &limits).failure(2);
        assert!(error.contains("leaves no room"), "{error}");
    }
    assert!(!dir.path().join("out").exists());
    train(
        &dir,
        &model,
        ROW,
        &["--max_len", "64", "--max_src_len", "60"],
    )
    .success();
}

#[test]
fn a_mode_whose_tokens_the_tokenizer_lacks_is_refused() {
    let (dir, model) = tiny("glm2");
    let error = train(&dir, &model, ROW, &["--mode", "glm3"]).failure(2);
    assert!(
        error.contains("<|user|>") && error.contains("glm3"),
        "{error}"
    );
    let rows = file(&dir, "rows.jsonl", ROW);
    let error = tokenized(&model, &rows, &["--mode", "glm3"]).failure(2);
    assert!(error.contains("<|user|>"), "{error}");
}

/// ChatGLM2's and ChatGLM3's tokenizer.model are one file; the published settings tell them apart.
#[test]
fn the_published_chatglm2_is_not_taken_for_chatglm3() {
    let tokenizers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tokenizers");
    if !tokenizers.exists() {
        eprintln!("skipped: no published tokenizers here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let chatglm2 = tokenizers.join("chatglm2-6b").display().to_string();
    let rows = file(&dir, "rows.jsonl", ROW);
    let error = tokenized(&chatglm2, &rows, &["--mode", "glm3"]).failure(2);
    assert!(error.contains("<|user|>"), "{error}");
    tokenized(&chatglm2, &rows, &[]).success();
    let output = dir.path().join("model").display().to_string();
    for mode in ["glm", "glm3", "glm4"] {
        let args = [
            "init",
            "--preset",
            "tiny",
            "--tokenizer",
            &chatglm2,
            "--output",
            &output,
        ];
        let error = glmtune(&[&args[..], &["--mode", mode]].concat()).failure(2);
        assert!(error.contains(&format!("mode {mode}")), "{error}");
    }
    assert!(!Path::new(&output).exists());
}

#[test]
fn a_training_goes_on_in_its_adapters_form() {
    let (dir, model) = tiny("glm2");
    let form = [
        "--lora_dim",
        "4",
        "--lora_alpha",
        "12",
        "--lora_dropout",
        "0.05",
    ];
    train(&dir, &model, ROW, &form).success();
    let adapter = dir.path().join("adapter").display().to_string();
    std::fs::rename(dir.path().join("out/epoch-1-step-1"), &adapter).unwrap();
    let from = ["--adapter", adapter.as_str()];
    for (flag, value, has) in [
        ("--lora_dim", "16", "lora_dim is 4"),
        ("--lora_alpha", "30", "lora_alpha is 12"),
        ("--lora_module_name", "dense", "it has query_key_value"),
        ("--lora_module_name", "all-linear", "it has query_key_value"),
    ] {
        let error = train(&dir, &model, ROW, &[&from[..], &[flag, value]].concat()).failure(2);
        assert!(error.contains(has), "{flag}: {error}");
    }
    let same = ["--lora_dim", "4", "--lora_module_name", "query_key_value"];
    for more in [&[][..], &same] {
        train(&dir, &model, ROW, &[&from[..], more].concat()).success();
        let settings = std::fs::read_to_string(dir.path().join("out/settings.toml")).unwrap();
        for line in ["lora_dim = 4", "lora_alpha = 12", "lora_dropout = 0.05"] {
            assert!(settings.contains(line), "{line}: {settings}");
        }
    }
}

#[test]
fn a_training_goes_on_with_its_prefix_as_it_is() {
    let (dir, model) = tiny("glm2");
    let ptuning = ["--train_type", "ptuning"];
    let form = ["--pre_seq_len", "5", "--prefix_projection", "False"];
    train(&dir, &model, ROW, &[&ptuning[..], &form].concat()).success();
    let adapter = dir.path().join("adapter").display().to_string();
    std::fs::rename(dir.path().join("out/epoch-1-step-1"), &adapter).unwrap();
    let from = [&ptuning[..], &["--adapter", &adapter]].concat();
    for (flag, value, has) in [
        ("--pre_seq_len", "16", "pre_seq_len is 5"),
        ("--prefix_projection", "true", "prefix_projection is false"),
    ] {
        let error = train(&dir, &model, ROW, &[&from[..], &[flag, value]].concat()).failure(2);
        assert!(error.contains(has), "{flag}: {error}");
    }
    train(&dir, &model, ROW, &from).success();
}

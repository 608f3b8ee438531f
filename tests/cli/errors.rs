//! Requests that are wrong: status 2, a message that says what, where, and what would be right.

use crate::common::golden;
use crate::{file, glmtune, tiny};

#[test]
fn flags_and_paths() {
    let message = glmtune(&[
        "generate",
        "--model_name_or_path",
        "/no/such",
        "--prompt",
        "x",
    ])
    .failure(2);
    assert!(message.contains("/no/such"), "{message}");
    glmtune(&["generate", "--no_such_flag"]).failure(2);
    glmtune(&["no-such-command"]).failure(2);
    let model = golden("chatglm2").to_str().unwrap().to_string();
    let generate = |extra: &[&str]| {
        glmtune(
            &[
                &["generate", "--backend=flex", "--model_name_or_path", &model],
                extra,
            ]
            .concat(),
        )
    };
    assert!(
        generate(&["--prompt", "x"])
            .failure(2)
            .contains("tokenizer")
    );
    assert!(
        generate(&["--input_ids", "1,9999"])
            .failure(2)
            .contains("9999")
    );
    assert!(
        generate(&["--input_ids", "1", "--top_p", "3"])
            .failure(2)
            .contains("top_p")
    );
    assert!(generate(&[]).failure(2).contains("--prompt"));
    // ChatGLM-6B's positions depend on its mask token.
    let model = golden("chatglm").to_str().unwrap().to_string();
    let args = [
        "generate",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        "--input_ids",
        "1,2",
    ];
    assert!(glmtune(&args).failure(2).contains("<sop>"));
}

#[test]
fn rows_are_named_by_file_line_and_key() {
    let (dir, model) = tiny("glm2");
    let score = |rows: &str| {
        let data = file(&dir, "rows.jsonl", rows);
        let args = [
            "score",
            "--backend=flex",
            "--model_name_or_path",
            &model,
            "--data",
            &data,
        ];
        glmtune(&args).failure(2)
    };
    let message =
        score("{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"a\"}\n{oops");
    assert!(message.contains("rows.jsonl:2:"), "{message}");
    assert!(
        message.contains("`output`") && message.contains("1 other"),
        "{message}"
    );
    let message = score("{\"input_ids\": [1, 70000], \"labels\": [-100, 1]}");
    assert!(
        message.contains("rows.jsonl:1:") && message.contains("70000"),
        "{message}"
    );
    score("");
}

#[test]
fn configurations_name_every_faulty_key() {
    let (_dir, model) = tiny("glm2");
    let path = std::path::Path::new(&model).join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("\"rmsnorm\": true", "\"rmsnorm\": false");
    std::fs::write(
        &path,
        text.replace(
            "\"tie_word_embeddings\": false",
            "\"tie_word_embeddings\": true",
        ),
    )
    .unwrap();
    let message = glmtune(&["inspect", &model]).failure(2);
    assert!(
        message.contains("rmsnorm") && message.contains("tie_word_embeddings"),
        "{message}"
    );
}

#[test]
fn weights_that_do_not_fit_are_all_named() {
    let (_dir, model) = tiny("glm2");
    let path = std::path::Path::new(&model).join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"num_layers\": 4", "\"num_layers\": 5"),
    )
    .unwrap();
    let args = [
        "generate",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        "--prompt",
        "x",
    ];
    let message = glmtune(&args).failure(1);
    assert!(
        message.contains("missing: transformer.encoder.layers.4.input_layernorm.weight"),
        "{message}"
    );
    assert!(
        message.contains("missing: transformer.encoder.layers.4.mlp.dense_4h_to_h.weight"),
        "{message}"
    );
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let model = golden("chatglm2").to_str().unwrap().to_string();
    let adapter = golden("chatglm").join("lora").to_str().unwrap().to_string();
    let args = [
        "generate",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        "--adapter",
        &adapter,
    ];
    let message = glmtune(&[&args[..], &["--input_ids", "1,2"]].concat()).failure(1);
    assert!(
        message.contains("transformer.layers.0.attention.query_key_value"),
        "{message}"
    );
}

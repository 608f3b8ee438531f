//! A model that was tuned here is asked what its rows asked.

use std::path::Path;

use crate::{file, glmtune, glmtune_with_input, tiny};

const ANSWERS: [(&str, &str); 4] = [
    ("red", "apple"),
    ("blue", "sky"),
    ("green", "leaf"),
    ("white", "snow"),
];

/// Rows that teach the answers.
fn rows(repeats: usize) -> String {
    let rows = ANSWERS.map(|(question, answer)| {
        format!("{{\"instruction\": \"{question}\", \"input\": \"\", \"output\": \"{answer}\"}}\n")
    });
    rows.concat().repeat(repeats)
}

/// Tunes a tiny model on the answers; gives the output's directory.
fn tuned(dir: &tempfile::TempDir, model: &str, more: &[&str]) -> String {
    let rows = file(dir, "rows.jsonl", &rows(100));
    let output = dir.path().join("out").display().to_string();
    let mut args = vec![
        "train",
        "--model_name_or_path",
        model,
        "--train_path",
        &rows,
    ];
    args.extend(["--output_dir", &output, "--no_cache", "--backend", "flex"]);
    args.extend([
        "--train_type",
        "all",
        "--learning_rate",
        "4e-3",
        "--max_len",
        "96",
    ]);
    args.extend(["--per_device_train_batch_size", "4", "--dtype", "f32"]);
    args.extend(more);
    glmtune(&args).success();
    let mut outputs: Vec<_> = std::fs::read_dir(&output)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("glmtune.json").exists())
        .collect();
    outputs.sort();
    outputs.pop().unwrap().display().to_string()
}

/// How many of the answers a model gives, and what it says on standard error.
fn answers(model: &str, more: &[&str]) -> (usize, String) {
    let mut said = String::new();
    let right = ANSWERS.iter().filter(|(question, answer)| {
        let mut args = vec![
            "generate",
            "--model_name_or_path",
            model,
            "--prompt",
            question,
        ];
        args.extend(["--backend", "flex", "--max_new_tokens", "12"]);
        args.extend(more);
        let run = glmtune(&args);
        said.push_str(&run.stderr);
        run.success().trim() == *answer
    });
    (right.count(), said)
}

#[test]
fn a_tuned_chatglm_6b_gives_the_answers_it_learned() {
    let (dir, model) = tiny("glm");
    let output = tuned(&dir, &model, &[]);
    let (right, said) = answers(&output, &[]);
    assert_eq!(right, 4, "{said}");
    assert!(said.contains("prompts as in the training"), "{said}");
    // The published form is another prompt, and is there for who wants it: the three letters of a colour and
    // two special tokens.
    let (_, said) = answers(&output, &["--prompt_format", "published"]);
    assert!(said.contains("prompt 5 tokens"), "{said}");
    assert!(!said.contains("prompts as in the training"), "{said}");
    let (_, said) = answers(&model, &[]);
    assert!(!said.contains("prompts as in the training"), "{said}");

    let args = [
        "chat",
        "--greedy",
        "--backend",
        "flex",
        "--model_name_or_path",
        &output,
    ];
    let input = "blue\n/clear\nwhite\n";
    let run = glmtune_with_input(&args, input, dir.path());
    assert!(
        run.stderr.contains("prompts as in the training"),
        "{}",
        run.stderr
    );
    let said = run.success();
    assert!(said.contains("sky") && said.contains("snow"), "{said}");
}

#[test]
fn the_text_before_every_row_stands_before_the_question() {
    let (dir, model) = tiny("glm2");
    let text = "The thing of this colour: ";
    let output = tuned(&dir, &model, &["--prompt_text", text]);
    let (right, said) = answers(&output, &[]);
    assert_eq!(right, 4, "{said}");
    assert!(said.contains(text.trim()), "{said}");
    assert!(Path::new(&output).join("glmtune.json").exists());
}

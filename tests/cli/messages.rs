//! What a run says of itself, and of requests that are nearly right.

use std::process::Command;

use crate::{file, glmtune, tiny};

#[test]
fn a_negative_number_is_refused_for_what_it_is() {
    let (_dir, model) = tiny("glm2");
    let paths = ["--train_path", "r", "--output_dir", "o"];
    let train = ["train", "--backend=flex", "--model_name_or_path", &model];
    let message = glmtune(&[&train[..], &paths, &["--learning_rate", "-1"]].concat()).failure(2);
    assert!(message.contains("learning_rate is -1"), "{message}");
    let generate = ["generate", "--backend=flex", "--prompt", "a"];
    let generate = [&generate[..], &["--model_name_or_path", &model]].concat();
    let message = glmtune(&[&generate[..], &["--temperature", "0"]].concat()).failure(2);
    assert!(message.contains("likeliest"), "{message}");
    assert!(message.contains("--greedy"), "{message}");
}

#[test]
fn a_prompt_beyond_the_model_is_warned_of() {
    let (dir, model) = tiny("glm2");
    let config = std::path::Path::new(&model).join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut config_json: serde_json::Value = serde_json::from_str(&text).unwrap();
    config_json["seq_length"] = 8.into();
    std::fs::write(&config, config_json.to_string()).unwrap();
    let long = file(&dir, "long.txt", &"word ".repeat(20));
    let generate = |prompt: &[&str]| {
        let args = ["generate", "--backend=flex", "--max_new_tokens=1"];
        let model = ["--model_name_or_path", &model];
        glmtune(&[&args[..], &model, prompt].concat())
    };
    let run = generate(&["--prompt_file", &long]);
    assert!(
        run.stderr.contains("made for 8 (`seq_length`"),
        "{}",
        run.stderr
    );
    run.success();
    let run = generate(&["--input_ids", "5,6"]);
    assert!(!run.stderr.contains("made for"), "{}", run.stderr);
}

#[test]
fn a_preset_that_is_smaller_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("m");
    let run = glmtune(&[
        "init",
        "--preset",
        "small",
        "--output",
        output.to_str().unwrap(),
    ]);
    assert!(run.stderr.contains("without --tokenizer"), "{}", run.stderr);
    run.success();
}

#[test]
fn the_log_tells_what_happens_and_has_no_colours_in_a_pipe() {
    let (dir, model) = tiny("glm2");
    let row = r#"{"instruction": "a", "input": "b", "output": "c"}"#;
    let long = row.replace("\"c\"", &format!("\"{}\"", "c".repeat(200)));
    let rows = file(&dir, "rows.jsonl", &format!("{row}\n{long}\n{row}\n"));
    let output = dir.path().join("out");
    let run = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(["train", "--backend=flex", "--no_cache", "--is_skip"])
        .args(["--max_len=100", "--max_src_len=50"])
        .args(["--model_name_or_path", &model, "--train_path", &rows])
        .args(["--output_dir", output.to_str().unwrap()])
        .env("GLMTUNE_LOG", "info")
        .output()
        .unwrap();
    let log = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    for part in [
        "tokenizer: ",
        "weights: ",
        "rows.jsonl: line 2: skipped",
        "type f32",
        "backend: flex",
        "checkpoint: ",
        "output: ",
    ] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
}

/// Quick start ends with a score before and after tuning on rows that were held out, and with commands that can be
/// typed as they stand there.
#[test]
fn quick_start_shows_the_score_before_and_after_and_commands_that_work() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("quick start");
    let args = ["train", "--quick_start", "--backend=flex", "--output_dir"];
    let said = glmtune(&[&args[..], &[output.to_str().unwrap()]].concat()).success();
    let (_, score) = said.split_once("training rows): ").unwrap();
    let (before, rest) = score.split_once(" before, ").unwrap();
    let (after, _) = rest.split_once(" after").unwrap();
    assert!(before.parse::<f64>().unwrap() < 0.1, "{score}");
    assert!(after.parse::<f64>().unwrap() > 0.5, "{score}");
    let (_, next) = said.split_once("\nNext: ").unwrap();
    let lines = next.lines().filter_map(|line| line.strip_prefix("  "));
    let mut commands = Vec::new();
    for line in lines {
        let (_, command) = line.split_once("glmtune ").unwrap();
        let command = command.split(' ').next().unwrap().to_string();
        // What is typed into a chat comes from a pipe here.
        let input = if command == "chat" {
            "printf '故障现象：爬坡能力波动。\\n' | "
        } else {
            ""
        };
        let run = Command::new("sh")
            .args(["-c", &format!("{input}{line}")])
            .current_dir(dir.path())
            .env("XDG_STATE_HOME", dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{line}\n{error}");
        assert!(
            !run.stdout.is_empty() || ["merge", "predict"].contains(&command.as_str()),
            "{line}\n{error}"
        );
        commands.push(command);
    }
    assert_eq!(commands, ["chat", "merge", "predict", "eval"]);
    let answers = |name: &str| std::fs::read_to_string(output.join(name)).unwrap();
    assert_eq!(answers("answers.jsonl"), answers("after.jsonl"));
    assert!(output.join("merged/config.json").is_file());
}

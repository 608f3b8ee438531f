//! `predict`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Run, file, glmtune, names, tiny};

/// Kills of a prediction that is then gone on with.
const KILLS: usize = 6;

/// A model with rows of many lengths.
struct Case {
    dir: TempDir,
    model: String,
    rows: String,
}

fn row(index: usize) -> Value {
    let question = "为什么 ab? ".repeat(1 + index * 7 % 5);
    match index % 3 {
        0 => json!({"id": index, "instruction": question, "input": "c", "output": "d"}),
        1 => json!({"text": question, "answer": "d", "weight": 0.1 + index as f64 / 3.0}),
        _ => json!({"instruction": question}),
    }
}

impl Case {
    fn new(mode: &str, rows: usize) -> Self {
        let (dir, model) = tiny(mode);
        let text: String = (0..rows).map(|index| format!("{}\n", row(index))).collect();
        let rows = file(&dir, "rows.jsonl", &text);
        Self { dir, model, rows }
    }

    fn output(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn args<'a>(&'a self, output: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["predict", "--backend", "flex", "--dtype", "f32"];
        args.extend([
            "--model_name_or_path",
            &self.model,
            "--test_path",
            &self.rows,
        ]);
        args.extend(["--output", output, "--max_new_tokens", "12"]);
        args.extend(extra);
        args
    }

    fn predict(&self, name: &str, extra: &[&str]) -> Run {
        let output = self.output(name);
        glmtune(&self.args(output.to_str().unwrap(), extra))
    }

    /// The rows of an output.
    fn read(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.output(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The rows in their order with all that they say, whatever the batches, and the answers that `generate` gives.
#[test]
fn rows_get_the_answers_that_they_get_alone() {
    for mode in ["glm", "glm2", "glm3", "glm4"] {
        let case = Case::new(mode, 11);
        case.predict("together", &[]).success();
        case.predict("alone", &["--batch_size", "1"]).success();
        let text = |name| fs::read_to_string(case.output(name)).unwrap();
        assert_eq!(text("together"), text("alone"), "{mode}");
        for (index, (found, line)) in case
            .read("together")
            .into_iter()
            .zip(text("together").lines())
            .enumerate()
        {
            // To the letter: a number is not always read back as it was written.
            let written = row(index).to_string();
            let opening = format!("{},\"generated\":\"", written.trim_end_matches('}'));
            assert!(line.starts_with(&opening), "{line}, expected {opening}…");
            let generated = found["generated"].as_str().unwrap();
            if index > 2 {
                continue;
            }
            let question = ["instruction", "text", "input"]
                .map(|key| found.get(key).and_then(Value::as_str).unwrap_or_default());
            let question = question.concat();
            let args = [
                "--prompt_format",
                "training",
                "--max_new_tokens",
                "12",
                "--json",
            ];
            let mut all = vec!["generate", "--backend", "flex", "--dtype", "f32"];
            all.extend(["--model_name_or_path", &case.model, "--prompt", &question]);
            all.extend(args);
            let expected = glmtune(&all).json_lines().remove(0)["text"].clone();
            let expected = expected.as_str().unwrap();
            let expected = expected.strip_prefix('\n').unwrap_or(expected);
            assert_eq!(generated, expected, "{mode} {index}");
        }
    }
}

#[test]
fn draws_depend_on_seed_and_row_and_not_on_the_batch() {
    let case = Case::new("glm2", 7);
    let predict = |name: &str, extra: &[&str]| {
        let mut all = vec!["--temperature", "1.3", "--num_return_sequences", "3"];
        all.extend(extra);
        case.predict(name, &all).success();
        case.read(name)
    };
    let found = predict("a", &[]);
    assert_eq!(found, predict("b", &["--batch_size", "2"]));
    assert_ne!(found, predict("c", &["--seed", "5"]));
    for row in &found {
        let texts = row["generated"].as_array().unwrap();
        assert_eq!(texts.len(), 3);
        assert!(texts[0] != texts[1] || texts[1] != texts[2]);
    }
}

#[test]
fn least_lengths_are_kept() {
    let case = Case::new("glm2", 3);
    // Whatever is likeliest first ends an answer if it may.
    let ids = glmtune(&[
        "generate",
        "--backend",
        "flex",
        "--model_name_or_path",
        &case.model,
        "--prompt",
        "x",
        "--max_new_tokens",
        "1",
        "--json",
    ]);
    assert_eq!(ids.json_lines()[0]["ids"].as_array().unwrap().len(), 1);
    case.predict("p", &["--min_new_tokens", "12"]).success();
    let error = case.predict("q", &["--min_new_tokens", "13"]).failure(2);
    assert!(error.contains("min_new_tokens"), "{error}");
    assert!(!case.output("q").exists());
}

/// Killed at any moment, a prediction leaves whole first rows and perhaps a half one, and goes on to the same file.
#[cfg(unix)]
#[test]
fn a_killed_prediction_goes_on_to_the_same_file() {
    let case = Case::new("glm3", 40);
    let extra = [
        "--temperature",
        "1.1",
        "--batch_size",
        "3",
        "--max_new_tokens",
        "20",
    ];
    let started = Instant::now();
    case.predict("whole", &extra).success();
    let time = started.elapsed();
    let expected = fs::read(case.output("whole")).unwrap();
    let output = case.output("killed");
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..KILLS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
            .args(case.args(output.to_str().unwrap(), &extra))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(time.mul_f64(random.random_range(0.2..0.9)));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(&output).unwrap_or_default();
        assert!(expected.starts_with(&found));
        // As if it had been killed in the middle of a line.
        let cut = random.random_range(0..40).min(found.len());
        if output.exists() {
            fs::write(&output, &found[..found.len() - cut]).unwrap();
        }
    }
    case.predict("killed", &extra).success();
    assert_eq!(fs::read(&output).unwrap(), expected);
    let said = case.predict("killed", &extra);
    assert!(
        said.stderr.contains("all 40 rows are there"),
        "{}",
        said.stderr
    );
    assert_eq!(fs::read(&output).unwrap(), expected);
    let beside = [
        "killed",
        "killed.settings.json",
        "model",
        "rows.jsonl",
        "whole",
        "whole.settings.json",
    ];
    assert_eq!(names(case.dir.path()), beside);
}

/// Cut after any byte, what is left is gone on with.
#[test]
fn whatever_was_written_of_the_last_line_is_made_whole() {
    let case = Case::new("glm2", 4);
    case.predict("p", &["--max_new_tokens", "3"]).success();
    let whole = fs::read(case.output("p")).unwrap();
    let third = whole.split_inclusive(|&byte| byte == b'\n').take(2);
    let third = third.map(<[u8]>::len).sum::<usize>();
    for cut in [
        0,
        1,
        third - 1,
        third,
        third + 1,
        third + 30,
        whole.len() - 1,
    ] {
        fs::write(case.output("p"), &whole[..cut]).unwrap();
        case.predict("p", &["--max_new_tokens", "3"]).success();
        assert_eq!(fs::read(case.output("p")).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn what_is_no_answer_to_the_rows_is_refused_by_line_and_stays() {
    let case = Case::new("glm2", 3);
    let with = |index: usize, generated: Value| {
        let mut row = row(index);
        row["generated"] = generated;
        row.to_string()
    };
    let good = with(0, json!("a"));
    let other = json!({"text": "else", "answer": "d", "generated": "b"}).to_string();
    let long = format!(
        "{good}\n{}\n{}\n{good}\n",
        with(1, json!("b")),
        with(2, json!("c"))
    );
    for (text, place, why) in [
        (format!("{good}\n{{\"text\": \n"), ":2: ", "not JSON"),
        (format!("{good}\n[1]\n"), ":2: ", "one JSON object"),
        (format!("{good}\n\n{other}\n"), ":3: ", "key `text` differs"),
        (
            format!("{}\n", row(0)),
            ":1: ",
            "`generated` must be a string",
        ),
        (
            format!("{}\n", with(0, json!(["a"]))),
            ":1: ",
            "`generated` must be a string",
        ),
        (long, ":4: ", "a row more than the 3"),
        (format!("{good}\n{good}\n"), ":2: ", "differs"),
        (
            format!("{}\n", with(0, json!(["a", 1]))),
            ":1: ",
            "`generated` must be a string",
        ),
        (
            format!("{}\n", with(0, json!(null))),
            ":1: ",
            "`generated` must be a string",
        ),
        (
            format!("{good}\n").replace("\"generated\":\"a\"", "\"generated\":NaN"),
            ":1: ",
            "not JSON",
        ),
        (format!("\u{feff}{good}\n"), ":1: ", "not JSON"),
        (format!("{good}\nmy notes"), ":2: ", "not JSON"),
        ("my notes".to_string(), ":1: ", "not JSON"),
    ] {
        fs::write(case.output("p"), &text).unwrap();
        let error = case.predict("p", &[]).failure(2);
        assert!(error.contains(&format!("p{place}")), "{error}");
        assert!(error.contains(why), "{error}");
        assert_eq!(fs::read_to_string(case.output("p")).unwrap(), text);
    }
    fs::write(case.output("p"), b"\xff\xfe\n").unwrap();
    let error = case.predict("p", &[]).failure(2);
    assert!(error.contains("p:1: not JSON"), "{error}");
    let error = case.predict("p", &["--num_return_sequences", "2", "--do_sample"]);
    assert!(error.failure(2).contains("p:1: "));
    // Answers cannot be written over the rows themselves.
    let before = fs::read(&case.rows).unwrap();
    let error = case.predict("rows.jsonl", &["--overwrite"]).failure(2);
    assert!(error.contains("rows to answer"), "{error}");
    assert_eq!(fs::read(&case.rows).unwrap(), before);
}

/// Rows that stand in the file twice are answered twice, and are told apart by their places; a file that was saved
/// with other ends of lines is gone on with.
#[test]
fn rows_that_are_there_twice_are_answered_twice() {
    let case = Case::new("glm2", 2);
    let text = fs::read_to_string(&case.rows).unwrap();
    let edited = format!("\u{feff}{}", text.repeat(2).replace('\n', "\r\n"));
    fs::write(&case.rows, edited).unwrap();
    case.predict("p", &[]).success();
    let found = case.read("p");
    assert_eq!(found.len(), 4);
    assert_eq!((&found[0], &found[1]), (&found[2], &found[3]));
    let whole = fs::read_to_string(case.output("p")).unwrap();
    let three: String = whole.split_inclusive('\n').take(3).collect();
    fs::write(case.output("p"), three.replace('\n', "\r\n")).unwrap();
    case.predict("p", &[]).success();
    assert_eq!(case.read("p"), found);
    fs::write(case.output("p"), "").unwrap();
    case.predict("p", &[]).success();
    assert_eq!(fs::read_to_string(case.output("p")).unwrap(), whole);
}

/// What was left by a prediction for other rows stays as it is, also where it has as many rows.
#[test]
fn answers_to_another_file_are_refused() {
    let case = Case::new("glm2", 3);
    case.predict("p", &[]).success();
    let before = fs::read(case.output("p")).unwrap();
    let rows = fs::read_to_string(&case.rows).unwrap();
    let mut lines: Vec<&str> = rows.lines().collect();
    lines.swap(1, 2);
    for (rows, place) in [
        (lines.join("\n"), "p:2: not line 2 of the file"),
        (
            rows.replace("\"id\":0", "\"id\":7"),
            "p:1: not line 1 of the file",
        ),
        (lines[..1].join("\n"), "p:2: a row more than the 1"),
    ] {
        fs::write(&case.rows, rows).unwrap();
        let error = case.predict("p", &[]).failure(2);
        assert!(error.contains(place), "{place}: {error}");
        assert_eq!(fs::read(case.output("p")).unwrap(), before);
    }
}

#[test]
fn rows_of_other_settings_are_not_mixed() {
    let case = Case::new("glm2", 4);
    case.predict("p", &[]).success();
    let whole = fs::read_to_string(case.output("p")).unwrap();
    let first: String = whole
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(case.output("p"), &first).unwrap();
    let error = case
        .predict("p", &["--repetition_penalty", "1.5"])
        .failure(2);
    assert!(
        error.contains("`repetition_penalty` was 1.0 and is 1.5"),
        "{error}"
    );
    let weights = names(Path::new(&case.model)).into_iter();
    let weights = weights.rev().find(|name| name.ends_with(".safetensors"));
    let weights = Path::new(&case.model).join(weights.unwrap());
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 8..].fill(1);
    fs::write(weights, bytes).unwrap();
    let error = case.predict("p", &[]).failure(2);
    assert!(error.contains("`model.weights` was"), "{error}");
    assert_eq!(fs::read_to_string(case.output("p")).unwrap(), first);
    let said = case.predict("p", &["--overwrite"]);
    assert!(said.stderr.contains("makes way"), "{}", said.stderr);
    assert_eq!(case.read("p").len(), 4);
    // Without the note, the rows are what there is to go by.
    fs::copy(case.output("p"), case.output("q")).unwrap();
    let text = fs::read_to_string(case.output("q")).unwrap();
    let three: String = text
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(case.output("q"), three).unwrap();
    let said = case.predict("q", &[]);
    assert!(said.stderr.contains("nobody can tell"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(case.output("q")).unwrap(), text);
    fs::write(case.output("q.settings.json"), "{").unwrap();
    let error = case.predict("q", &[]).failure(2);
    assert!(error.contains("q.settings.json"), "{error}");
}

/// Of two that answer the same rows into one file, one does and the other says who is at it.
#[test]
fn two_into_one_file_do_not_mix() {
    let case = Case::new("glm2", 30);
    case.predict("alone", &["--max_new_tokens", "60"]).success();
    let output = case.output("p");
    let args = case.args(output.to_str().unwrap(), &["--max_new_tokens", "60"]);
    let spawn = || {
        Command::new(env!("CARGO_BIN_EXE_glmtune"))
            .args(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children = [spawn(), spawn(), spawn()];
    let outcomes = children.map(|child| child.wait_with_output().unwrap());
    let statuses = outcomes
        .each_ref()
        .map(|outcome| outcome.status.code().unwrap());
    assert!(statuses.contains(&0), "{statuses:?}");
    for outcome in outcomes.iter().filter(|outcome| !outcome.status.success()) {
        let error = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.status.code(), Some(2), "{error}");
        assert!(error.contains("is writing here"), "{error}");
    }
    assert_eq!(
        fs::read(&output).unwrap(),
        fs::read(case.output("alone")).unwrap()
    );
}

/// Ctrl-C leaves whole first rows, and the same command goes on.
#[cfg(unix)]
#[test]
fn an_interrupted_prediction_says_so_and_goes_on() {
    let case = Case::new("glm2", 60);
    let extra = ["--max_new_tokens", "80", "--batch_size", "2"];
    let output = case.output("p");
    let child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(case.args(output.to_str().unwrap(), &extra))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while fs::metadata(&output).map_or(0, |found| found.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let outcome = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1), "{error}");
    assert!(error.contains("of 60 rows are in"), "{error}");
    let found = fs::read_to_string(&output).unwrap();
    assert!(found.ends_with('\n'));
    case.predict("p", &extra).success();
    case.predict("whole", &extra).success();
    let whole = fs::read_to_string(case.output("whole")).unwrap();
    assert!(whole.starts_with(&found));
    assert_eq!(fs::read_to_string(&output).unwrap(), whole);
}

/// Rows are cut as in the training, and a flag that would leave some out is refused.
#[test]
fn sources_are_cut_as_in_the_training() {
    let (dir, model) = tiny("glm2");
    let question = "abcdefghij".repeat(20);
    let text = json!({"instruction": question, "output": "x"}).to_string();
    let rows = file(&dir, "rows.jsonl", &text);
    let limits = ["--max_len", "80", "--max_src_len", "60"];
    let mut args = vec![
        "tokenize",
        "--model_name_or_path",
        &model,
        "--train_path",
        &rows,
    ];
    args.extend(limits);
    let row = glmtune(&args).json_lines().remove(0);
    let labels = row["labels"].as_array().unwrap();
    let source = labels
        .iter()
        .take_while(|label| **label == json!(-100))
        .count();
    let source = row["input_ids"].as_array().unwrap()[..source].iter();
    let source: Vec<String> = source.map(Value::to_string).collect();
    let source = source.join(",");
    let mut args = vec!["generate", "--backend", "flex", "--dtype", "f32", "--json"];
    args.extend(["--model_name_or_path", &model, "--input_ids", &source]);
    args.extend(["--max_new_tokens", "9"]);
    let expected = glmtune(&args).json_lines().remove(0)["text"].clone();
    let case = Case { dir, model, rows };
    let mut extra = vec!["--max_new_tokens", "9"];
    extra.extend(limits);
    let said = case.predict("p", &extra);
    assert!(
        said.stderr.contains("1 of 1 rows are cut"),
        "{}",
        said.stderr
    );
    assert_eq!(case.read("p")[0]["generated"], expected);
    let error = case.predict("q", &["--is_skip"]).failure(2);
    assert!(error.contains("--is_skip"), "{error}");
}

/// Adapters, and models without a tokenizer, whose rows and answers are ids.
#[test]
fn adapters_and_ids() {
    use crate::common::{FAMILIES, golden};
    for family in FAMILIES {
        let base = golden(family);
        let meta = fs::read_to_string(base.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_str(&meta).unwrap();
        let ids = |pointer: &str| -> Vec<String> {
            let list = meta.pointer(pointer).and_then(Value::as_array).unwrap();
            list.iter().map(Value::to_string).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        let prompt = ids("/greedy/prompt").join(",");
        let row = format!("{{\"input_ids\": [{prompt}]}}\n");
        let rows = file(&dir, "rows.jsonl", &row.repeat(3));
        let (prefix, lora) = (
            crate::common::fixtures::prefix_directory(&base, "prefix"),
            base.join("lora"),
        );
        let model = base.to_str().unwrap().to_string();
        let case = Case { dir, model, rows };
        let answers = |name: &str, adapter: Option<&Path>| -> Vec<Value> {
            let mut extra = Vec::new();
            if let Some(adapter) = adapter {
                extra.extend(["--adapter", adapter.to_str().unwrap()]);
            }
            case.predict(name, &extra).success();
            let rows = case.read(name).into_iter();
            rows.map(|row| row["generated"].clone()).collect()
        };
        let expected = |pointer: &str| vec![json!(ids(pointer)[..12].join(",")); 3];
        assert_eq!(
            answers("base", None),
            expected("/greedy/tokens"),
            "{family}"
        );
        let found = answers("prefix", Some(prefix.path()));
        assert_eq!(found, expected("/prefix_greedy/prefix"), "{family}");
        let with_lora = answers("lora", Some(&lora));
        assert_eq!(with_lora.len(), 3);
        // An output belongs to its adapter.
        let text = fs::read_to_string(case.output("lora")).unwrap();
        let first = format!("{}\n", text.lines().next().unwrap());
        fs::write(case.output("lora"), &first).unwrap();
        let error = case.predict("lora", &[]).failure(2);
        assert!(error.contains("`adapters`"), "{error}");
    }
}

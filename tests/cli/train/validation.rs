//! Validation while training.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::metrics;
use super::resume::Case;
use crate::{Run, file, glmtune};

/// Rows that are held out; some of them test abilities.
fn held_out() -> String {
    let rows = (0..6).map(|row| {
        let question = format!("held out {}", "word ".repeat(1 + row % 3));
        let ability = if row % 2 == 0 { "copy" } else { "sort" };
        json!({"instruction": question, "input": "", "output": format!("answer {row}"), "ability": ability})
    });
    rows.map(|row| format!("{row}\n")).collect()
}

struct Held {
    case: Case,
    rows: String,
}

impl Held {
    fn new() -> Self {
        let case = Case::new();
        let rows = file(&case.dir, "eval.jsonl", &held_out());
        Self { case, rows }
    }

    /// Trains into a folder; one that rows are held out for.
    fn run(&self, name: &str, more: &[&str]) -> (PathBuf, Run) {
        let output = self.case.output(name);
        let run = glmtune(&self.case.args(&output, more));
        (PathBuf::from(output), run)
    }

    fn train(&self, name: &str, more: &[&str]) -> PathBuf {
        let with_rows = ["--eval_path", self.rows.as_str()];
        let (output, run) = self.run(name, &[&with_rows[..], more].concat());
        run.success();
        output
    }
}

/// Lines of a split; those of the steps have none.
fn of_split(output: &Path, split: Option<&str>) -> Vec<Value> {
    let lines = metrics(output).into_iter();
    lines
        .filter(|line| line["split"].as_str() == split)
        .collect()
}

/// Every number of every step but times and memory.
fn steps(output: &Path) -> Vec<String> {
    let lines = of_split(output, None).into_iter();
    lines
        .map(|line| {
            let names = ["step", "epoch", "loss", "lr", "grad_norm", "tokens"];
            names.map(|name| line[name].to_string()).join(" ")
        })
        .collect()
}

/// Step and loss of each validation.
fn validations(output: &Path) -> Vec<(u64, f64)> {
    let lines = of_split(output, Some("eval")).into_iter();
    lines
        .map(|line| {
            (
                line["step"].as_u64().unwrap(),
                line["loss"].as_f64().unwrap(),
            )
        })
        .collect()
}

fn adapter(output: &Path, name: &str) -> Vec<u8> {
    fs::read(output.join(name).join("adapter_model.safetensors")).unwrap()
}

fn last(output: &Path) -> Vec<u8> {
    adapter(output, "epoch-2-step-14")
}

#[test]
fn measuring_changes_no_step() {
    let held = Held::new();
    let (plain, run) = held.run("plain", &[]);
    run.success();
    let task = [
        "--eval_steps",
        "3",
        "--eval_task",
        "text",
        "--eval_rows",
        "2",
    ];
    let measured = held.train("measured", &task);
    assert_eq!(steps(&measured), steps(&plain));
    assert!(last(&measured) == last(&plain));
    let expected = validations(&measured);
    let at: Vec<u64> = expected.iter().map(|(step, _)| *step).collect();
    assert_eq!(at, [3, 6, 9, 12, 14]);
    let lines = of_split(&measured, Some("eval"));
    for line in &lines {
        assert_eq!(line["score_name"], "rouge-l-jieba");
        assert_eq!(line["score"], line["scores"]["rouge-l-jieba"]);
        assert_eq!(
            (&line["rows"], &line["targets"]),
            (&json!(6), &lines[0]["targets"])
        );
    }
    let svg = fs::read_to_string(measured.join("loss.svg")).unwrap();
    assert!(svg.contains("held out"));
    // Other ways to compute the same.
    for way in [
        &["--gradient_checkpointing"][..],
        &["--offload_param"],
        &["--pipeline_stages", "2"],
        &["--eval_batch_size", "4"],
    ] {
        let name = format!("way{}", way[0]);
        let other = held.train(&name, &[way, &["--eval_steps", "3"][..]].concat());
        for (found, expected) in validations(&other).iter().zip(&expected) {
            assert_eq!(found.0, expected.0);
            let error = (found.1 - expected.1).abs() / expected.1;
            assert!(error < 1e-5, "{way:?}: {found:?}, {expected:?}");
        }
    }
}

#[test]
fn rows_that_are_held_out_are_not_trained_on_and_stay_the_same() {
    let held = Held::new();
    let flags = ["--val_size", "0.25", "--eval_steps", "2"];
    let (whole, run) = held.run("whole", &flags);
    let said = run.success();
    assert!(said.contains("held out: 7 rows"), "{said}");
    assert!(said.contains("21 rows are trained on"), "{said}");
    assert!(said.contains("eval at step 2 "), "{said}");
    let (cut, run) = held.run("cut", &[&flags[..], &["--max_steps", "5"]].concat());
    run.success();
    let (_, run) = held.run("cut", &[&flags[..], &["--resume"]].concat());
    run.success();
    assert_eq!(steps(&cut), steps(&whole));
    // The cut run was measured at its end, too, which was taken again.
    let cut: Vec<_> = validations(&cut)
        .into_iter()
        .filter(|at| at.0 != 5)
        .collect();
    assert_eq!(cut, validations(&whole));
    let (_, run) = held.run("cut", &["--val_size", "3", "--resume"]);
    let error = run.failure(2);
    assert!(error.contains("val_size was 0.25, is 3"), "{error}");
    let (_, run) = held.run("none", &["--val_size", "28"]);
    let error = run.failure(2);
    assert!(error.contains("holds out 28 of 28 rows"), "{error}");
}

/// A course that becomes worse: the output is that of its best step.
#[test]
fn the_best_model_is_what_is_left_and_resumed() {
    let held = Held::new();
    let flags = [
        "--eval_steps",
        "1",
        "--load_best_model_at_end",
        "--learning_rate",
        "0.3",
        "--save_total_limit",
        "1",
    ];
    let output = held.train("whole", &flags);
    let course = validations(&output);
    let least = course.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let (step, loss) = *least;
    assert!(
        (1..14).contains(&step),
        "no best step in the middle: {course:?}"
    );
    let epoch = 1 + (step - 1) / 7;
    let name = format!("epoch-{epoch}-step-{step}");
    assert!(adapter(&output, "best") == adapter(&output, &name));
    assert!(adapter(&output, "best") != last(&output));
    assert!(
        output
            .join(format!("checkpoint/step-{step}/state.json"))
            .exists()
    );
    let outputs = fs::read_dir(&output).unwrap();
    let outputs = outputs.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("epoch-")
    });
    assert_eq!(outputs.count(), 2);
    // What is measured is what the output gives.
    let best = output.join("best");
    let model = held.case.model();
    let score = ["score", "--backend", "flex", "--model_name_or_path", model];
    let more = [
        "--adapter",
        best.to_str().unwrap(),
        "--data",
        held.rows.as_str(),
    ];
    let limits = ["--max_len", "96", "--max_src_len", "64"];
    let rows = glmtune(&[&score[..], &more[..], &limits[..]].concat()).json_lines();
    let tokens = |row: &Value| row["tokens"].as_f64().unwrap();
    let sum: f64 = rows
        .iter()
        .map(|row| row["loss"].as_f64().unwrap() * tokens(row))
        .sum();
    let mean = sum / rows.iter().map(tokens).sum::<f64>();
    assert!((mean - loss).abs() / loss < 1e-5, "{mean}, {loss}");

    // The same from a run in two parts, of which the first had the best step.
    let cut = (step + 1).to_string();
    held.train("cut", &[&flags[..], &["--max_steps", &cut]].concat());
    let cut = held.train("cut", &[&flags[..], &["--resume"]].concat());
    assert_eq!(validations(&cut), course);
    assert!(adapter(&cut, "best") == adapter(&output, "best"));
    assert!(last(&cut) == last(&output));
}

#[test]
fn whole_models_and_masters_are_those_of_the_best_step() {
    let held = Held::new();
    for offload in ["--offload_optimizer", "--offload_param"] {
        let flags = [
            "--train_type",
            "all",
            offload,
            "--eval_steps",
            "2",
            "--load_best_model_at_end",
            "True",
            "--learning_rate",
            "1",
        ];
        let output = held.train(&format!("all{offload}"), &flags);
        let course = validations(&output);
        let least = course.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let step = least.0;
        assert!(step < 14, "{course:?}");
        let weights = |name: &str| {
            let dir = output.join(name);
            fs::read(dir.join("model-00001-of-00001.safetensors")).unwrap()
        };
        let name = format!("epoch-{}-step-{step}", 1 + (step - 1) / 7);
        assert!(weights("best") == weights(&name), "{offload}");
    }
}

#[test]
fn patience_ends_a_run_for_good() {
    let held = Held::new();
    let flags = [
        "--eval_steps",
        "1",
        "--early_stopping_patience",
        "2",
        "--early_stopping_threshold",
        "100",
    ];
    let with_rows = [&["--eval_path", held.rows.as_str()][..], &flags].concat();
    let (output, run) = held.run("early", &with_rows);
    assert!(run.stderr.contains("stopped early"), "{}", run.stderr);
    run.success();
    assert_eq!(steps(&output).len(), 3);
    assert!(
        output
            .join("epoch-1-step-3/adapter_model.safetensors")
            .exists()
    );
    // The patience is used up; more of it goes on.
    let (_, run) = held.run("early", &[&with_rows[..], &["--resume"]].concat());
    run.success();
    assert_eq!(steps(&output).len(), 3);
    let (_, run) = held.run(
        "early",
        &[
            &with_rows[..],
            &["--resume", "--early_stopping_patience", "4"],
        ]
        .concat(),
    );
    run.success();
    assert_eq!(steps(&output).len(), 5);
    assert_eq!(validations(&output).len(), 5);
}

#[test]
fn abilities_are_measured_before_and_after() {
    let held = Held::new();
    let (output, run) = held.run("general", &["--general_path", held.rows.as_str()]);
    let said = run.success();
    assert!(
        said.contains("abilities before the first step and after"),
        "{said}"
    );
    let text = fs::read_to_string(output.join("abilities.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let lines = of_split(&output, Some("general"));
    assert_eq!(lines.len(), 4);
    for (index, name) in ["copy", "sort"].into_iter().enumerate() {
        let ability = &file["abilities"][index];
        assert_eq!(
            (&ability["ability"], &ability["rows"]),
            (&json!(name), &json!(3))
        );
        let (before, after) = (&ability["before"], &ability["after"]);
        assert_eq!((&before["step"], &after["step"]), (&json!(0), &json!(14)));
        assert_ne!(before["loss"], after["loss"]);
        assert!(before["score"].is_number() && after["score"].is_number());
        assert_eq!(lines[index]["loss"], before["loss"]);
        assert_eq!(lines[2 + index]["when"], "after");
    }
    // Weights that are elsewhere can be measured, but not answer.
    let more = [
        "--general_path",
        held.rows.as_str(),
        "--pipeline_stages",
        "2",
    ];
    let (output, run) = held.run("staged", &more);
    let said = run.success();
    assert!(said.contains("by their loss alone"), "{said}");
    let text = fs::read_to_string(output.join("abilities.json")).unwrap();
    let staged: Value = serde_json::from_str(&text).unwrap();
    let level = &staged["abilities"][0]["before"];
    assert!(level["score"].is_null());
    let loss = |file: &Value| file["abilities"][0]["before"]["loss"].as_f64().unwrap();
    assert!((loss(&staged) - loss(&file)).abs() < 1e-5);
}

#[test]
fn broken_rows_are_named_by_file_and_line() {
    let held = Held::new();
    let good = held_out();
    let broken = file(
        &held.case.dir,
        "broken.jsonl",
        &format!("{good}{{\"instruction\": 1}}\n"),
    );
    for flag in ["--eval_path", "--general_path"] {
        let (output, run) = held.run("broken", &[flag, broken.as_str()]);
        let error = run.failure(2);
        assert!(error.contains("broken.jsonl:7: "), "{error}");
        assert!(!output.exists());
    }
    let row = json!({"instruction": "a", "output": "b"});
    let nameless = file(&held.case.dir, "nameless.jsonl", &format!("{good}{row}\n"));
    let (_, run) = held.run("nameless", &["--general_path", nameless.as_str()]);
    let error = run.failure(2);
    assert!(
        error.contains("nameless.jsonl:7: key `ability` is missing"),
        "{error}"
    );
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let held = Held::new();
    let rows = held.rows.as_str();
    let with_rows: &[&str] = &["--eval_path", rows];
    let cases: [(&[&str], &[&str], &str); 8] = [
        (
            &[],
            &["--eval_steps", "2"],
            "--eval_steps: there are no rows",
        ),
        (
            &[],
            &["--load_best_model_at_end"],
            "--eval_path FILE or --val_size",
        ),
        (with_rows, &["--val_size", "2"], "cannot be used with"),
        (
            with_rows,
            &["--metric_for_best_model", "eval_score"],
            "give --eval_task",
        ),
        (with_rows, &["--greater_is_better", "True"], "contradicts"),
        (
            with_rows,
            &["--eval_task", "text", "--offload_param"],
            "not --offload_param",
        ),
        (
            with_rows,
            &["--eval_task", "triples", "--pipeline_stages", "2"],
            "not --pipeline_stages",
        ),
        (with_rows, &["--eval_steps", "0"], "eval_steps is 0"),
    ];
    for (given, more, expected) in cases {
        let (_, run) = held.run("refused", &[given, more].concat());
        let error = run.failure(2);
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

#[test]
fn settings_are_noted_and_a_dry_run_takes_them() {
    let held = Held::new();
    let flags = [
        "--eval_steps",
        "5",
        "--eval_task",
        "triples",
        "--metric_for_best_model",
        "score",
        "--load_best_model_at_end",
        "--general_path",
        held.rows.as_str(),
    ];
    let dry = [
        &["--dry_run", "--eval_path", held.rows.as_str()][..],
        &flags,
    ]
    .concat();
    let (output, run) = held.run("dry", &dry);
    assert!(run.success().contains("held out: 6 rows"));
    assert!(!output.exists());
    let output = held.train("out", &flags);
    let noted = output.join("settings.toml");
    let again = held.case.output("again");
    let config = [
        "train",
        "--config",
        noted.to_str().unwrap(),
        "--output_dir",
        again.as_str(),
    ];
    glmtune(&[&config[..], &["--no_cache"][..]].concat()).success();
    assert_eq!(validations(Path::new(&again)), validations(&output));
    let scores = of_split(&output, Some("eval"));
    assert!(scores.iter().all(|line| line["score_name"] == "f1"));
}

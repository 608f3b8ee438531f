//! `--resume`: to the bit, after any end, and never from what is damaged or foreign.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{column, metrics};
use crate::{file, glmtune, tiny};

/// Runs that are killed.
const KILLS: usize = 20;
const STEPS: usize = 14;

/// Rows of different lengths for a tiny model.
fn rows() -> String {
    (0..28)
        .map(|row| {
            let text = "word ".repeat(1 + row % 5);
            let row = serde_json::json!({"instruction": format!("{row}: "), "input": text, "output": format!("answer {row}")});
            format!("{row}\n")
        })
        .collect()
}

/// A tiny model and a file of rows.
pub struct Case {
    pub dir: tempfile::TempDir,
    model: String,
    rows: String,
}

impl Case {
    pub fn new() -> Self {
        let (dir, model) = tiny("glm2");
        let rows = file(&dir, "rows.jsonl", &rows());
        Self { dir, model, rows }
    }

    /// Dropout, accumulation, two epochs with a partial last window, a checkpoint every other step.
    pub fn args<'a>(&'a self, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec![
            "train",
            "--backend",
            "flex",
            "--model_name_or_path",
            &self.model,
            "--train_path",
            &self.rows,
            "--output_dir",
            output,
            "--no_cache",
            "--train_type",
            "lora",
            "--lora_dropout",
            "0.2",
            "--per_device_train_batch_size",
            "2",
            "--gradient_accumulation_steps",
            "2",
            "--num_train_epochs",
            "2",
            "--save_model_step",
            "2",
            "--max_len",
            "96",
            "--max_src_len",
            "64",
        ];
        args.extend(more);
        args
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    pub fn output(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }
}

/// Every number of every step but times and memory, as it is written.
fn course(output: &str) -> Vec<String> {
    let rows = metrics(Path::new(output)).into_iter();
    rows.map(|row| {
        let names = ["step", "epoch", "loss", "lr", "grad_norm", "tokens"];
        names.map(|name| row[name].to_string()).join(" ")
    })
    .collect()
}

fn last_adapter(output: &str) -> Vec<u8> {
    let path = Path::new(output).join(format!("epoch-2-step-{STEPS}/adapter_model.safetensors"));
    fs::read(path).unwrap()
}

#[test]
fn a_run_killed_at_any_moment_goes_on_to_the_bit() {
    let case = Case::new();
    let whole = case.output("whole");
    let started = Instant::now();
    glmtune(&case.args(&whole, &[])).success();
    let duration = started.elapsed();
    let expected = course(&whole);
    assert_eq!(expected.len(), STEPS);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let output = case.output(&format!("killed-{kill}"));
        let wait = duration.mul_f64(random.random_range(0.05..1.0));
        cut_short += usize::from(kill_after(&case.args(&output, &[]), wait));
        glmtune(&case.args(&output, &["--resume"])).success();
        assert_eq!(course(&output), expected, "killed after {wait:?}");
        assert_eq!(last_adapter(&output), last_adapter(&whole));
        fs::remove_dir_all(&output).unwrap();
    }
    assert!(
        cut_short > KILLS / 2,
        "only {cut_short} runs were killed in time"
    );
}

/// One run that is killed again and again in one directory: at no moment is anything lost that was complete,
/// neither its own nor another's, and in the end nothing half written is left.
#[test]
fn a_run_killed_again_and_again_loses_nothing() {
    let case = Case::new();
    let whole = case.output("whole");
    let started = Instant::now();
    glmtune(&case.args(&whole, &[])).success();
    let duration = started.elapsed();
    let output = case.output("killed");
    let others = Path::new(&output).join("epoch-1-step-1");
    fs::create_dir_all(&others).unwrap();
    fs::write(others.join("adapter_model.bin"), "another's").unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(13);
    kill_after(&case.args(&output, &[]), duration.mul_f64(0.7));
    let mut complete = complete_outputs(&output);
    for _ in 0..2 * KILLS {
        let wait = duration.mul_f64(random.random_range(0.1..0.8));
        kill_after(&case.args(&output, &["--resume"]), wait);
        let found = complete_outputs(&output);
        let lost: Vec<_> = complete.difference(&found).collect();
        assert!(lost.is_empty(), "{lost:?} lost after {wait:?}");
        complete = found;
    }
    glmtune(&case.args(&output, &["--resume"])).success();
    assert_eq!(course(&output), course(&whole));
    assert_eq!(last_adapter(&output), last_adapter(&whole));
    let kept = Path::new(&output).join("earlier-1/epoch-1-step-1/adapter_model.bin");
    assert_eq!(fs::read_to_string(kept).unwrap(), "another's");
    for folder in [&output, &format!("{output}/checkpoint")] {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let hidden: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
        assert!(hidden.is_empty(), "{hidden:?}");
    }
}

/// The outputs in a directory that have all their files; one that was moved away is kept, too.
fn complete_outputs(output: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(output).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let files = ["adapter_model.safetensors", "glmtune.json"];
        if name.starts_with('.') {
            // Half written: it was never an output.
            continue;
        }
        if name.starts_with("earlier-") {
            found.extend(complete_outputs(path.to_str().unwrap()));
        } else if files.iter().all(|file| path.join(file).exists()) {
            found.insert(name);
        }
    }
    found
}

/// Weights, masters and moments come back to the host's memory in their types.
#[test]
fn what_lives_on_the_host_goes_on_to_the_bit() {
    let case = Case::new();
    for offload in ["--offload_param", "--offload_optimizer"] {
        for dtype in ["bf16", "f32"] {
            let flags = ["--train_type", "all", offload, "--dtype", dtype];
            let whole = case.output(&format!("whole{offload}{dtype}"));
            glmtune(&case.args(&whole, &flags)).success();
            let output = case.output(&format!("cut{offload}{dtype}"));
            let cut = [&flags[..], &["--max_steps", "6"]].concat();
            glmtune(&case.args(&output, &cut)).success();
            let resumed = [&flags[..], &["--resume"]].concat();
            glmtune(&case.args(&output, &resumed)).success();
            assert_eq!(course(&output), course(&whole), "{offload} {dtype}");
            let last = |output: &str| {
                let dir = Path::new(output).join(format!("epoch-2-step-{STEPS}"));
                fs::read(dir.join("model-00001-of-00001.safetensors")).unwrap()
            };
            assert!(last(&output) == last(&whole), "{offload} {dtype}: weights");
        }
    }
}

/// Starts the program and kills it; tells whether it was still running.
fn kill_after(args: &[&str], wait: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(wait);
    let was_running = child.try_wait().unwrap().is_none();
    // SIGKILL: nothing of the program runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
    was_running
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let case = Case::new();
    let output = case.output("stopped");
    // More than is done before the signal comes, and nothing saved on the way.
    let long = ["--num_train_epochs", "100", "--save_model_step", "9999"];
    let child = Command::new(env!("CARGO_BIN_EXE_glmtune"))
        .args(case.args(&output, &long))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !Path::new(&output).join("metrics.jsonl").exists()
        || metrics(Path::new(&output)).is_empty()
    {
        assert!(Instant::now() < deadline, "no first step");
        std::thread::sleep(Duration::from_millis(2));
    }
    let process = child.id().to_string();
    let mut signal = Command::new("kill");
    signal.args(["-INT", &process]).status().unwrap();
    let ended = child.wait_with_output().unwrap();
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("--resume goes on"), "{message}");

    let stopped = course(&output).len();
    let end = (stopped + 3).to_string();
    let limited = [&long[..], &["--max_steps", &end]].concat();
    let resumed = [&limited[..], &["--resume"]].concat();
    let said = glmtune(&case.args(&output, &resumed)).success();
    assert!(
        said.contains(&format!("going on after step {stopped}")),
        "{said}"
    );
    let whole = case.output("whole");
    glmtune(&case.args(&whole, &limited)).success();
    assert_eq!(course(&output), course(&whole));
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_offered() {
    let case = Case::new();
    let whole = case.output("whole");
    glmtune(&case.args(&whole, &[])).success();
    let output = case.output("out");
    glmtune(&case.args(&output, &["--max_steps", "6"])).success();
    let weights = Path::new(&output).join("checkpoint/step-6/weights.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let error = glmtune(&case.args(&output, &["--resume"])).failure(2);
    assert!(
        error.contains("weights.safetensors is truncated"),
        "{error}"
    );
    assert!(error.contains("--resume 4"), "{error}");
    glmtune(&case.args(&output, &["--resume", "4"])).success();
    assert_eq!(course(&output), course(&whole));

    let mut bytes = bytes;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let last = Path::new(&output).join(format!("checkpoint/step-{STEPS}/weights.safetensors"));
    fs::write(&last, &bytes).unwrap();
    let error = glmtune(&case.args(&output, &["--resume"])).failure(2);
    assert!(error.contains("is damaged"), "{error}");
    let error = glmtune(&case.args(&output, &["--resume", "3"])).failure(2);
    assert!(
        error.contains("no checkpoint of step 3; there are: 12, 14"),
        "{error}"
    );
}

#[test]
fn other_settings_and_other_rows_are_refused_by_name() {
    let case = Case::new();
    let output = case.output("out");
    glmtune(&case.args(&output, &["--max_steps", "2"])).success();
    let more = ["--resume", "--learning_rate", "0.5", "--seed", "9"];
    let error = glmtune(&case.args(&output, &more)).failure(2);
    assert!(error.contains("learning_rate was 0.001, is 0.5"), "{error}");
    assert!(error.contains("seed was 1234, is 9"), "{error}");
    fs::write(&case.rows, format!("{}{}", rows(), rows())).unwrap();
    let error = glmtune(&case.args(&output, &["--resume"])).failure(2);
    assert!(error.contains("the training rows are others"), "{error}");
}

#[test]
fn an_earlier_run_is_kept() {
    let case = Case::new();
    let output = case.output("out");
    glmtune(&case.args(&output, &["--max_steps", "2"])).success();
    let first = column(Path::new(&output), "loss");
    let said = glmtune(&case.args(&output, &["--max_steps", "1"])).success();
    assert!(said.contains("earlier-1"), "{said}");
    assert_eq!(column(Path::new(&output), "loss").len(), 1);
    let earlier = Path::new(&output).join("earlier-1");
    assert_eq!(column(&earlier, "loss"), first);
    assert!(earlier.join("epoch-1-step-2/adapter_config.json").exists());
    assert!(earlier.join("checkpoint/step-2/state.json").exists());
}

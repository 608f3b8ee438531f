//! A device that fails ends the run, and nothing that it may have spoilt is saved.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{Run, command, file, tiny};

const ROWS: usize = 12;
const STEPS: usize = 6;

/// Runs `glmtune` on the CPU, and lets a device fail at the `wait`-th waiting for it.
fn failing(args: &[&str], wait: usize, words: &str) -> Run {
    let order = format!("{wait}:{words}");
    let run = command(args)
        .env("GLMTUNE_REHEARSE_DEVICE_FAILURE", order)
        .stdin(Stdio::null())
        .output();
    Run::of(run.unwrap())
}

struct Training {
    folder: tempfile::TempDir,
    model: String,
    rows: String,
}

impl Training {
    fn new() -> Self {
        let (folder, model) = tiny("glm3");
        let row = |i: usize| {
            format!(
                "{{\"input_ids\": [{}, 5, 6, 7, 8], \"labels\": [-100, -100, 6, 7, 8]}}\n",
                i + 3
            )
        };
        let rows: String = (0..ROWS).map(row).collect();
        let rows = file(&folder, "rows.jsonl", &rows);
        Self {
            folder,
            model,
            rows,
        }
    }

    fn output(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn args<'a>(&'a self, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["train", "--backend", "flex", "--no_cache", "--dtype", "f32"];
        args.extend([
            "--model_name_or_path",
            &self.model,
            "--train_path",
            &self.rows,
        ]);
        args.extend([
            "--per_device_train_batch_size",
            "1",
            "--gradient_accumulation_steps",
            "2",
        ]);
        args.extend([
            "--num_train_epochs",
            "1",
            "--save_model_step",
            "2",
            "--show_loss_step",
            "1",
        ]);
        args.extend(["--output_dir", output]);
        args.extend(more);
        args
    }
}

/// Steps of the outputs of a run.
fn outputs(dir: &Path) -> Vec<usize> {
    numbers(dir, "epoch-1-step-")
}

fn numbers(dir: &Path, beginning: &str) -> Vec<usize> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<usize> = names
        .filter_map(|name| name.strip_prefix(beginning)?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

fn adapter(dir: &Path, step: usize) -> Vec<u8> {
    fs::read(dir.join(format!("epoch-1-step-{step}/adapter_model.safetensors"))).unwrap()
}

/// Whenever it fails: exit status 1, what failed and what helps, nothing saved since, the last checkpoint named,
/// and a resume reaches what an undisturbed run reaches.
#[test]
fn a_training_ends_and_saves_nothing_more() {
    if cfg!(not(debug_assertions)) {
        eprintln!("skipped: a release build rehearses no failure");
        return;
    }
    let training = Training::new();
    let whole = training.output("whole");
    crate::glmtune(&training.args(whole.to_str().unwrap(), &[])).success();
    assert_eq!(outputs(&whole), [2, 4, 6]);
    for wait in [1, 2, 3, 4, 5, 6, 9, 11] {
        let out = training.output(&format!("out-{wait}"));
        let path = out.to_str().unwrap();
        let words = "CUDA_ERROR_OUT_OF_MEMORY";
        let said = failing(&training.args(path, &[]), wait, words).failure(1);
        assert!(said.contains("the device ran out of memory"), "{said}");
        assert!(said.contains("--gradient_checkpointing"), "{said}");
        assert!(said.contains("--offload_param"), "{said}");
        let saved = outputs(&out);
        let steps = numbers(&out.join("checkpoint"), "step-");
        match steps.last() {
            Some(step) => {
                let dir = out.join(format!("checkpoint/step-{step}"));
                assert!(
                    said.contains(&format!("that of step {step}, {}", dir.display())),
                    "{said}"
                );
            }
            None => assert!(said.contains("there is no checkpoint"), "{said}"),
        }
        assert!(saved.len() < STEPS / 2, "{wait}: {saved:?}");
        for &step in &saved {
            assert_eq!(
                adapter(&out, step),
                adapter(&whole, step),
                "{wait}: step {step}"
            );
        }
        crate::glmtune(&training.args(path, &["--resume"])).success();
        assert_eq!(
            adapter(&out, STEPS),
            adapter(&whole, STEPS),
            "{wait}: resumed"
        );
    }
}

/// Replicas are threads of their own.
#[test]
fn a_training_on_several_devices_ends() {
    if cfg!(not(debug_assertions)) {
        return;
    }
    let training = Training::new();
    let out = training.output("out");
    let more = ["--devices", "0,1"];
    let said = failing(
        &training.args(out.to_str().unwrap(), &more),
        3,
        "it fell off the bus",
    )
    .failure(1);
    assert!(
        said.contains("the device failed: it fell off the bus"),
        "{said}"
    );
    assert!(outputs(&out).is_empty());
}

#[test]
fn generate_and_score_end() {
    if cfg!(not(debug_assertions)) {
        return;
    }
    let training = Training::new();
    let model = ["--model_name_or_path", &training.model, "--backend", "flex"];
    let generate = [
        &["generate", "--input_ids", "3,4,5", "--max_new_tokens", "8"][..],
        &model,
    ]
    .concat();
    let said = failing(&generate, 3, "it fell off the bus").failure(1);
    assert!(
        said.contains("the device failed: it fell off the bus"),
        "{said}"
    );
    let dump = training.output("logits.safetensors");
    let dump_arg = dump.to_str().unwrap();
    let score = [
        &["score", "--data", &training.rows, "--dump", dump_arg][..],
        &model,
    ]
    .concat();
    let said = failing(&score, 4, "it fell off the bus").failure(1);
    assert!(said.contains("the device failed"), "{said}");
    assert!(!dump.exists());
}

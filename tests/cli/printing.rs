//! Nobody reads, the disk is full, or the streams are closed: no command panics.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use crate::{command, file, tiny};

/// Every command with a request that succeeds, given a model, a file of rows and a folder.
fn commands(model: &str, rows: &str, dir: &Path) -> Vec<Vec<String>> {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_string();
    let lines = [
        "--help".to_string(),
        "train --help".to_string(),
        "--version".to_string(),
        "no-such-command".to_string(),
        format!("inspect {model}"),
        format!(
            "generate --backend=flex --model_name_or_path={model} --input_ids=5,6 --max_new_tokens=3"
        ),
        format!("tokenize --model_name_or_path={model} --train_path={rows}"),
        format!("score --backend=flex --model_name_or_path={model} --data={rows}"),
        format!("chat --backend=flex --model_name_or_path={model}"),
        format!("init --preset=tiny --mode=glm2 --output={}", at("made")),
        format!(
            "train --backend=flex --no_cache --model_name_or_path={model} --train_path={rows} \
             --per_device_train_batch_size=2 --max_steps=3 --show_loss_step=1 --output_dir={}",
            at("trained")
        ),
    ];
    let split = |line: &String| line.split(' ').map(str::to_string).collect();
    lines.iter().map(split).collect()
}

fn start(args: &[String], out: Stdio, err: Stdio) -> Child {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = command(&args);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().unwrap()
}

fn full() -> Stdio {
    OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// The end of a run, which must not be that of a panic or a signal.
#[track_caller]
fn end(args: &[String], child: Child) -> (i32, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(
        matches!(status.code(), Some(0..=2)),
        "{args:?}: {status} {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    (status.code().unwrap_or(-1), stderr)
}

/// A reader that has gone before the first line.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn every_command_outlives_its_readers_and_full_disks() {
    let (dir, model) = tiny("glm2");
    let row = "{\"instruction\": \"count\", \"input\": \"\", \"output\": \"one two\"}\n";
    let rows = file(&dir, "rows.jsonl", &row.repeat(6));
    for (index, kind) in ["gone", "full", "closed"].iter().enumerate() {
        let folder = dir.path().join(index.to_string());
        std::fs::create_dir(&folder).unwrap();
        for args in commands(&model, &rows, &folder) {
            let streams: [fn() -> Stdio; 2] = match *kind {
                "gone" => [gone, gone],
                "full" => [full, full],
                _ => [Stdio::null, Stdio::null],
            };
            let is_fault = args[0] == "no-such-command";
            let is_training = args[0] == "train" && args.len() > 2;
            let [out, err] = streams;
            // Standard output alone, standard error alone, both.
            let (status, said) = end(&args, start(&args, out(), Stdio::piped()));
            if is_training || *kind == "gone" && !is_fault {
                assert_eq!(status, 0, "{kind} {args:?}: {said}");
            }
            let _ = std::fs::remove_dir_all(folder.join("made"));
            end(&args, start(&args, Stdio::piped(), err()));
            let _ = std::fs::remove_dir_all(folder.join("made"));
            end(&args, start(&args, out(), err()));
            let _ = std::fs::remove_dir_all(folder.join("made"));
        }
        let saved = std::fs::read_to_string(folder.join("trained/metrics.jsonl")).unwrap();
        assert_eq!(saved.lines().count(), 3, "{kind}");
    }
}

#[test]
fn a_full_disk_under_a_result_is_a_failure_that_is_told() {
    let args = ["--help".to_string()];
    let (status, said) = end(&args, start(&args, full(), Stdio::piped()));
    assert_eq!(status, 1);
    assert!(said.contains("standard output: "), "{said}");
}

#[test]
fn streams_closed_by_the_shell_are_no_trouble() {
    let (dir, model) = tiny("glm2");
    let program = env!("CARGO_BIN_EXE_glmtune");
    for (index, closed) in [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
        .iter()
        .enumerate()
    {
        let made = dir.path().join(format!("made-{index}"));
        let script = format!(
            "{program} inspect {model} {closed} && {program} init --preset tiny --mode glm2 --output {} {closed}",
            made.display()
        );
        let run = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(0), "{closed}");
        assert!(made.join("config.json").exists(), "{closed}");
    }
}

//! Several processes under `mpirun` against one.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "cuda")]
mod cards;
#[path = "../common/mod.rs"]
mod common;
mod golden_runs;
mod sharded;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The last one has a single micro-batch, so that most ranks have none.
const STEPS: usize = 6;
/// Micro-batches of a step, over all ranks.
const WINDOW: usize = 4;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self::of("tiny")
    }

    /// A model of a preset, and rows.
    fn of(preset: &str) -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let model = case.path("model");
        let init = [
            "init", "--preset", preset, "--mode", "glm2", "--output", &model,
        ];
        run(Command::new(env!("CARGO_BIN_EXE_glmtune")).args(init));
        let row = |row: usize| {
            let text = "word ".repeat(1 + row % 5);
            format!(
                "{{\"instruction\": \"{row}: \", \"input\": \"{text}\", \"output\": \"answer {row}\"}}\n"
            )
        };
        let rows: String = (0..2 * (WINDOW * (STEPS - 1) + 1)).map(row).collect();
        fs::write(case.path("rows.jsonl"), rows).unwrap();
        case
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    /// `glmtune train` in some processes.
    fn command(&self, ranks: usize, output: &str, more: &[&str]) -> Command {
        let mut command = glmtune(ranks, self.dir.path());
        command.args(["train", "--backend", "flex", "--no_cache"]);
        command.args(["--model_name_or_path", &self.path("model")]);
        command.args(["--train_path", &self.path("rows.jsonl")]);
        command.args(["--output_dir", &self.path(output)]);
        command.args(["--per_device_train_batch_size", "2", "--max_len", "96"]);
        let accumulation = (WINDOW / ranks).to_string();
        command.args(["--gradient_accumulation_steps", &accumulation]);
        command.args(["--max_src_len", "64"]).args(more);
        command.stdin(Stdio::null());
        command
    }

    fn column(&self, output: &str, name: &str) -> Vec<f64> {
        let text = fs::read_to_string(Path::new(&self.path(output)).join("metrics.jsonl")).unwrap();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter_map(|row| row[name].as_f64()).collect()
    }

    fn assert_equal(&self, found: &str, expected: &str) {
        assert_eq!(self.column(found, "loss").len(), STEPS);
        self.assert_close(found, expected);
    }

    fn assert_close(&self, found: &str, expected: &str) {
        for name in ["loss", "grad_norm", "lr", "tokens"] {
            let (found, expected) = (self.column(found, name), self.column(expected, name));
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() <= 1e-4 * b.abs(), "{name}: {a} {b}");
            }
        }
    }
}

/// `glmtune` in some processes. `folder` is for Open MPI's files: several runs that begin and end at once in the folder
/// that it takes by itself get in each other's way.
fn glmtune(ranks: usize, folder: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_glmtune");
    if ranks == 1 {
        return Command::new(program);
    }
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--oversubscribe", "-n", &ranks.to_string(), program]);
    // A container has no other user.
    mpirun.env("OMPI_MCA_orte_tmpdir_base", folder);
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun
}

/// The bytes that the first rank says that it has sent.
fn bytes_sent(said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("bytes sent"));
    let words = line.expect(said).split_whitespace();
    let numbers = words.map(|word| word.replace(',', ""));
    let mut numbers = numbers.filter_map(|word| word.parse().ok());
    numbers.next().expect(said)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).to_string();
    assert!(output.status.success(), "{text}");
    text
}

const METHODS: [&[&str]; 3] = [
    &["--train_type", "all"],
    &["--train_type", "lora", "--lora_dim", "3"],
    &[
        "--train_type",
        "ptuning",
        "--pre_seq_len",
        "5",
        "--gradient_checkpointing",
    ],
];

#[test]
fn ranks_are_one_process_with_as_many_micro_batches() {
    let case = Case::new();
    for (index, method) in METHODS.into_iter().enumerate() {
        let one = format!("one-{index}");
        run(&mut case.command(1, &one, method));
        for ranks in [2, 4] {
            let several = format!("{ranks}-{index}");
            let said = run(&mut case.command(ranks, &several, method));
            case.assert_equal(&several, &one);
            assert!(said.contains("bytes sent by this rank"), "{said}");
            assert_eq!(
                said.matches("trainable params").count(),
                1,
                "one rank prints"
            );
        }
    }
}

#[test]
fn another_number_of_ranks_goes_on() {
    let case = Case::new();
    let lora = METHODS[1];
    run(&mut case.command(1, "whole", lora));
    // One process has its optimizer on the device, several have theirs on their hosts.
    for (ranks, end) in [(1, "1"), (2, "2"), (4, "4")] {
        let part = [lora, &["--max_steps", end, "--resume"]].concat();
        run(&mut case.command(ranks, "part", &part));
    }
    run(&mut case.command(1, "part", &[lora, &["--resume"]].concat()));
    case.assert_equal("part", "whole");
}

/// Several processes share out the masters, which start from the adapter's own values and are what is saved.
#[test]
fn without_a_learning_rate_an_adapter_stays_as_it_is() {
    let case = Case::new();
    let steps = ["--max_steps", "2"];
    run(&mut case.command(1, "first", &[METHODS[1], &steps].concat()));
    let adapter = format!("{}/epoch-1-step-2", case.path("first"));
    let file = "adapter_model.safetensors";
    let expected = fs::read(Path::new(&adapter).join(file)).unwrap();
    for dtype in ["bf16", "f16", "f32"] {
        let fixed = [
            "--adapter",
            &adapter,
            "--learning_rate",
            "0",
            "--dtype",
            dtype,
        ];
        let fixed = [METHODS[1], &fixed].concat();
        run(&mut case.command(2, dtype, &[&fixed[..], &steps].concat()));
        run(&mut case.command(
            2,
            dtype,
            &[&fixed[..], &["--max_steps", "4", "--resume"]].concat(),
        ));
        for step in ["epoch-1-step-2", "epoch-1-step-4"] {
            let found = fs::read(Path::new(&case.path(dtype)).join(step).join(file)).unwrap();
            assert!(found == expected, "{dtype}: {step} is another");
        }
    }
}

#[test]
fn a_rank_that_dies_ends_the_others_and_leaves_the_checkpoint() {
    let case = Case::new();
    let lora = [
        METHODS[1],
        &["--save_model_step", "1", "--num_train_epochs", "40"],
    ]
    .concat();
    let mut command = case.command(4, "killed", &lora);
    let mut mpirun = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = Path::new(&case.path("killed")).join("checkpoint");
    wait_until("a checkpoint", || {
        fs::read_dir(&checkpoint).is_ok_and(|entries| entries.count() > 1)
    });
    kill_one_rank(&mpirun);
    let killed = Instant::now();
    let mut status = None;
    wait_until("the end of the others", || {
        status = mpirun.try_wait().unwrap();
        status.is_some()
    });
    assert!(killed.elapsed() < Duration::from_secs(20));
    assert!(!status.unwrap().success());
    let stop = column_len(&case) as u64 + 1;
    let stop = stop.to_string();
    let again = [&lora[..], &["--resume", "--max_steps", &stop]].concat();
    let said = run(&mut case.command(4, "killed", &again));
    assert!(said.contains("going on after step"), "{said}");
}

fn column_len(case: &Case) -> usize {
    let path = Path::new(&case.path("killed")).join("metrics.jsonl");
    fs::read_to_string(path).unwrap().lines().count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// SIGKILL for the last rank that `mpirun` started.
fn kill_one_rank(mpirun: &Child) {
    let parent = mpirun.id().to_string();
    let children = Command::new("pgrep")
        .args(["-P", &parent, "glmtune"])
        .output()
        .unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let last = children.lines().last().expect("ranks").to_string();
    Command::new("kill")
        .args(["-KILL", &last])
        .status()
        .unwrap();
}

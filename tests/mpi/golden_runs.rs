//! The golden runs in several processes, and what these send.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use safetensors::SafeTensors;

use crate::common::FAMILIES;
use crate::common::golden_run::stage3;
use crate::common::golden_run::{GoldenRun, RUNS, column};
use crate::{bytes_sent, glmtune, run};

/// Largest `max|a-b| / max|b|` of a trajectory.
const TOLERANCE: f64 = 1e-4;

/// Trains in some processes; gives what they said.
pub fn train(golden: &GoldenRun, ranks: usize, output: &str, more: &[&str]) -> String {
    run(&mut command(golden, ranks, output, more))
}

/// `glmtune train` in some processes, on the CPU unless more is said.
pub fn command(golden: &GoldenRun, ranks: usize, output: &str, more: &[&str]) -> Command {
    let output = golden.folder.path().join(output);
    let more = [&["--backend", "flex"], more].concat();
    let mut command = glmtune(ranks, golden.folder.path());
    command.args(golden.arguments(&output, &more));
    command
}

/// Asserts that two runs took the same steps.
pub fn assert_equal(golden: &GoldenRun, found: &str, expected: &str, tolerance: f64) {
    let path = |name: &str| golden.folder.path().join(name);
    for name in ["loss", "grad_norm", "lr"] {
        let (a, b) = (column(&path(found), name), column(&path(expected), name));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!(
                (a - b).abs() <= tolerance * b.abs(),
                "{found}: {name}: {a} {b}"
            );
        }
    }
}

/// Elements of what a run trains, by its last checkpoint.
pub fn trained(output: &Path) -> BTreeMap<String, usize> {
    let steps = fs::read_dir(output.join("checkpoint")).unwrap();
    let step = steps.map(|step| step.unwrap().path()).max().unwrap();
    let bytes = fs::read(step.join("weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let elements = |name: &&str| tensors.tensor(name).unwrap().shape().iter().product();
    let names = tensors.names();
    names
        .iter()
        .map(|name| (name.to_string(), elements(name)))
        .collect()
}

/// What a rank keeps of all that is trained, in elements; the last parts are filled up.
pub fn kept(trained: &BTreeMap<String, usize>, ranks: usize) -> usize {
    trained.values().map(|all| all.div_ceil(ranks)).sum()
}

/// Two ranks with one micro-batch each make the golden runs' accumulation of two. They send gradients and weights of
/// what is trained, each once in a step, masters for the output, masters and moments for the checkpoint, and nothing
/// else: no weight that is not trained.
#[test]
fn two_ranks_are_the_golden_runs_and_send_what_is_trained() {
    for family in FAMILIES {
        for name in RUNS {
            let golden = GoldenRun::new(family, name);
            let said = train(&golden, 2, "two", &["--gradient_accumulation_steps", "1"]);
            let output = golden.folder.path().join("two");
            golden.assert_trajectory(name, &output, TOLERANCE);
            let steps = column(&output, "loss").len();
            let values = kept(&trained(&output), 2) * (2 * steps + 4);
            assert_eq!(bytes_sent(&said), 4 * values as u64, "{family} {name}");
        }
    }
}

#[test]
fn four_ranks_are_one_process_with_four_times_the_accumulation() {
    for (family, more) in [
        ("chatglm", &[][..]),
        ("chatglm2", &["--gradient_checkpointing"]),
    ] {
        for name in RUNS {
            let golden = GoldenRun::new(family, name);
            let accumulation = |steps| [&["--gradient_accumulation_steps", steps], more].concat();
            train(&golden, 1, "one", &accumulation("4"));
            let said = train(&golden, 4, "four", &accumulation("1"));
            assert_equal(&golden, "four", "one", TOLERANCE);
            let output = golden.folder.path().join("four");
            let steps = column(&output, "loss").len();
            let values = kept(&trained(&output), 4) * 3 * (2 * steps + 4);
            assert_eq!(bytes_sent(&said), 4 * values as u64, "{family} {name}");
        }
    }
}

/// Ranks that share a host add up what they have before it leaves the host: two hosts of two ranks each. The sums are in
/// another order, which in bf16 can round a weight to the other side.
#[test]
fn two_hosts_are_one() {
    for (family, dtype, tolerance) in [("chatglm", "f32", TOLERANCE), ("chatglm2", "bf16", 0.01)] {
        for name in ["all", "lora_all", "prefix"] {
            let golden = GoldenRun::new(family, name);
            let common = ["--gradient_accumulation_steps", "1", "--dtype", dtype];
            let file = stage3(golden.folder.path());
            for (stage, more) in [(2, &[][..]), (3, &["--ds_file", &file])] {
                let more = [&common[..], &["--gradient_checkpointing"], more].concat();
                let one = format!("one-{stage}");
                let flat = train(&golden, 4, &one, &more);
                let two = format!("two-{stage}");
                let mut hosts = command(&golden, 4, &two, &more);
                let said = run(hosts.env("GLMTUNE_RANKS_PER_HOST", "2"));
                assert_equal(&golden, &two, &one, tolerance);
                if dtype == "f32" {
                    assert_eq!(bytes_sent(&said), bytes_sent(&flat));
                }
            }
        }
    }
}

/// Gradients and weights travel in the model's type. With one micro-batch for each of two ranks nothing more is
/// rounded than in one process that keeps its optimizer in the host's memory.
#[test]
fn bf16_sends_half_and_rounds_no_more() {
    for name in ["all", "lora_all"] {
        let golden = GoldenRun::new("chatglm2", name);
        let bf16 = ["--dtype", "bf16", "--gradient_checkpointing"];
        let one = [&bf16[..], &["--offload_optimizer"]].concat();
        train(&golden, 1, "one", &one);
        let two = [&bf16[..], &["--gradient_accumulation_steps", "1"]].concat();
        let said = train(&golden, 2, "two", &two);
        assert_equal(&golden, "two", "one", 1e-6);
        let output = golden.folder.path().join("two");
        let steps = column(&output, "loss").len();
        let values = kept(&trained(&output), 2);
        assert_eq!(bytes_sent(&said), (values * (4 * steps + 4 * 4)) as u64);
    }
}

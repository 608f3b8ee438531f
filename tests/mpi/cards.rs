//! Ranks with a CUDA card each, on the device in software: the golden runs, and which card each rank takes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::golden_run::stage3;
use crate::common::golden_run::{GoldenRun, RUNS};
use crate::common::software_cuda::{capability, libraries, put_on};
use crate::golden_runs::{assert_equal, command, train};
use crate::{Case, METHODS, run};

/// Largest `max|a-b| / max|b|` of a trajectory.
const TOLERANCE: f64 = 1e-3;

/// Trains on as many cards as there are ranks; gives what the device counted for each rank.
fn train_on_cards(
    libraries: &Path,
    golden: &GoldenRun,
    ranks: usize,
    output: &str,
    more: &[&str],
) -> Vec<Value> {
    let trace = |rank: &str| golden.folder.path().join(format!("{output}-{rank}.json"));
    let more = [&["--backend", "cuda"], more].concat();
    let mut command = command(golden, ranks, output, &more);
    put_on(&mut command, libraries, capability::WITHOUT_TF32);
    command.env("SOFTWARE_CUDA_DEVICES", ranks.to_string());
    command.env("SOFTWARE_CUDA_TRACE", trace("%r"));
    run(&mut command);
    let counted = |rank: usize| fs::read_to_string(trace(&rank.to_string())).unwrap();
    (0..ranks)
        .map(|rank| serde_json::from_str(&counted(rank)).unwrap())
        .collect()
}

/// Each rank launches kernels on the card of its place and on no other.
fn assert_own_cards(counted: &[Value]) {
    for (rank, trace) in counted.iter().enumerate() {
        let devices = trace["devices"].as_array().unwrap();
        let launches = devices.iter().map(|device| device["launches"].as_u64());
        for (card, launches) in launches.enumerate() {
            assert_eq!(launches.unwrap() > 0, card == rank, "rank {rank}: {trace}");
        }
    }
}

#[test]
fn two_ranks_are_the_golden_runs() {
    let Some(libraries) = libraries() else { return };
    for name in RUNS {
        let golden = GoldenRun::new("chatglm2", name);
        let stages = stage3(golden.folder.path());
        for (output, more) in [("two", &[][..]), ("parts", &["--ds_file", &stages])] {
            let more = [&["--gradient_accumulation_steps", "1"], more].concat();
            let counted = train_on_cards(libraries, &golden, 2, output, &more);
            golden.assert_trajectory(name, &golden.folder.path().join(output), TOLERANCE);
            assert_own_cards(&counted);
        }
    }
}

#[test]
fn four_ranks_are_one_process_with_four_times_the_accumulation() {
    let Some(libraries) = libraries() else { return };
    let golden = GoldenRun::new("chatglm2", "lora_all");
    train(&golden, 1, "one", &["--gradient_accumulation_steps", "4"]);
    let stages = stage3(golden.folder.path());
    for (output, more) in [("four", &[][..]), ("parts", &["--ds_file", &stages])] {
        let more = [&["--gradient_accumulation_steps", "1"], more].concat();
        let counted = train_on_cards(libraries, &golden, 4, output, &more);
        assert_equal(&golden, output, "one", TOLERANCE);
        assert_own_cards(&counted);
    }
}

#[test]
fn more_ranks_than_cards_are_refused() {
    let Some(libraries) = libraries() else { return };
    let case = Case::new();
    for (devices, expected) in [
        (&[][..], "3 processes on this host and 2 cards"),
        (
            &["--devices", "1,0"],
            "--devices names 2 cards for the 3 processes",
        ),
    ] {
        let more = [METHODS[1], &["--backend", "cuda"], devices].concat();
        let mut three = case.command(3, "refused", &more);
        put_on(&mut three, libraries, capability::WITHOUT_TF32);
        three.env("SOFTWARE_CUDA_DEVICES", "2");
        let output = three.output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

//! Weights that several processes share out (`zero_optimization.stage` 3).

use std::collections::BTreeMap;
use std::fs;

use safetensors::SafeTensors;

use crate::common::golden_run::{GoldenRun, RUNS, column, matrices, stage3, visits};
use crate::golden_runs::{assert_equal, kept, train, trained};
use crate::{Case, METHODS, STEPS, bytes_sent, run};

const TOLERANCE: f64 = 1e-4;

/// Each rank's part of a matrix is sent when its segment's turn comes, forward and backward; gradients are sent once,
/// and the weights that they change are not sent after the step.
#[test]
fn two_ranks_are_the_golden_runs_and_gather_each_segment_in_its_turn() {
    for family in ["chatglm", "chatglm2"] {
        for name in RUNS {
            let golden = GoldenRun::new(family, name);
            let file = stage3(golden.folder.path());
            let more = ["--ds_file", &file, "--gradient_accumulation_steps", "1"];
            let said = train(&golden, 2, "two", &more);
            let output = golden.folder.path().join("two");
            golden.assert_trajectory(name, &output, TOLERANCE);
            let matrices = matrices(family);
            let trained = trained(&output);
            let steps = column(&output, "loss").len();
            let (lowest, embeddings) = match name {
                "all" => (0, true),
                "freeze" => (lowest_block(&trained), false),
                _ => (0, false),
            };
            let passes: usize = matrices
                .iter()
                .map(|(path, elements)| {
                    elements.div_ceil(2) * visits(path, lowest, embeddings) * steps
                })
                .sum();
            let (visiting, staying): (BTreeMap<_, _>, BTreeMap<_, _>) = trained
                .into_iter()
                .partition(|(path, _)| matrices.contains_key(path));
            let updates = kept(&visiting, 2) * steps + kept(&staying, 2) * 2 * steps;
            let saved = 4 * (kept(&visiting, 2) + kept(&staying, 2));
            // What is not trained is gathered for the output of a whole model.
            let frozen = match name {
                "freeze" => matrices
                    .iter()
                    .filter(|(path, _)| !visiting.contains_key(*path))
                    .map(|(_, elements)| elements.div_ceil(2))
                    .sum(),
                _ => 0,
            };
            let values = passes + updates + saved + frozen;
            assert_eq!(bytes_sent(&said), 4 * values as u64, "{family} {name}");
        }
    }
}

fn lowest_block(trained: &BTreeMap<String, usize>) -> usize {
    let blocks = trained.keys().filter_map(|path| {
        let (_, rest) = path.split_once("layers.")?;
        rest.split('.').next()?.parse().ok()
    });
    blocks.min().unwrap()
}

#[test]
fn four_ranks_are_one_process_with_four_times_the_accumulation() {
    for (family, dtype) in [("chatglm", "f32"), ("glm4", "bf16")] {
        for name in ["all", "freeze", "lora_all", "prefix_projection"] {
            let golden = GoldenRun::new(family, name);
            let file = stage3(golden.folder.path());
            let accumulation = ["--dtype", dtype, "--gradient_accumulation_steps"];
            let one = [&accumulation[..], &["4", "--offload_optimizer"]].concat();
            train(&golden, 1, "one", &one);
            let four = [&accumulation[..], &["1", "--ds_file", &file]].concat();
            train(&golden, 4, "four", &four);
            // Sums of rounded gradients of four ranks are those of one process.
            assert_equal(&golden, "four", "one", TOLERANCE);
            let outputs = ["one", "four"].map(|output| weights(&golden, output));
            for (path, expected) in &outputs[0] {
                let found = &outputs[1][path];
                let largest = expected
                    .iter()
                    .fold(0.0f32, |max, value| max.max(value.abs()));
                for (a, b) in found.iter().zip(expected) {
                    // A rounding to the other side moves a bf16 value by one place.
                    let tolerance = if dtype == "bf16" { 1e-2 } else { 1e-3 };
                    assert!(
                        (a - b).abs() <= tolerance * largest,
                        "{name} {path}: {a} {b}"
                    );
                }
            }
        }
    }
}

/// The weights of the last output.
fn weights(golden: &GoldenRun, output: &str) -> BTreeMap<String, Vec<f32>> {
    let entries = fs::read_dir(golden.folder.path().join(output)).unwrap();
    let dirs = entries.map(|entry| entry.unwrap().path());
    let mut outputs: Vec<_> = dirs
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("epoch-")
        })
        .collect();
    outputs.sort();
    let files = fs::read_dir(outputs.last().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut found = BTreeMap::new();
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "safetensors")) {
        let bytes = fs::read(file).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for (name, tensor) in tensors.iter() {
            let values = match tensor.dtype() {
                safetensors::Dtype::F32 => bytes_to(tensor.data(), f32::from_le_bytes),
                _ => bytes_to(tensor.data(), |[low, high]: [u8; 2]| {
                    f32::from_le_bytes([0, 0, low, high])
                }),
            };
            found.insert(name.to_string(), values);
        }
    }
    assert!(!found.is_empty());
    found
}

fn bytes_to<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let chunks = bytes.chunks_exact(N);
    chunks
        .map(|chunk| value(chunk.try_into().unwrap()))
        .collect()
}

/// The last window has one micro-batch: the other ranks walk along, so that it has all parts of the weights. So they do
/// in a validation whose rows do not come out even.
#[test]
fn ranks_without_a_micro_batch_give_their_parts() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    for (index, method) in METHODS.into_iter().enumerate() {
        let validation = ["--val_size", "5", "--eval_steps", "2"];
        let (one, method) = (format!("one-{index}"), [method, &validation].concat());
        run(&mut case.command(1, &one, &method));
        for ranks in [2, 4] {
            let several = format!("{ranks}-{index}");
            let sharded = [&method[..], &["--ds_file", &file]].concat();
            run(&mut case.command(ranks, &several, &sharded));
            case.assert_close(&several, &one);
        }
    }
}

/// Whether weights are shared out, and among how many, is no part of what a checkpoint holds.
#[test]
fn another_number_of_ranks_goes_on() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    for method in [0, 1] {
        let whole = format!("whole-{method}");
        let part = format!("part-{method}");
        let method = METHODS[method];
        run(&mut case.command(1, &whole, method));
        let sharded = [method, &["--ds_file", &file, "--resume"]].concat();
        for (ranks, end) in [(2, "1"), (1, "2"), (4, "4"), (2, "5")] {
            let part_way = [&sharded[..], &["--max_steps", end]].concat();
            run(&mut case.command(ranks, &part, &part_way));
        }
        run(&mut case.command(4, &part, &sharded));
        assert_eq!(case.column(&part, "loss").len(), STEPS);
        case.assert_close(&part, &whole);
    }
}

/// The same ranks give the same bits, in one part or in several.
#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    let all = [METHODS[0], &["--ds_file", &file, "--dtype", "bf16"]].concat();
    run(&mut case.command(2, "whole", &all));
    let first = [&all[..], &["--max_steps", "3"]].concat();
    run(&mut case.command(2, "part", &first));
    run(&mut case.command(2, "part", &[&all[..], &["--resume"]].concat()));
    for name in ["loss", "grad_norm"] {
        assert_eq!(case.column("part", name), case.column("whole", name));
    }
}

/// Packed sequences are dealt out as micro-batches are, whether weights are shared out or not.
#[test]
fn packed_rows_are_shared_out() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    let packed = ["--packing", "--per_device_train_batch_size", "1"];
    for (index, method) in METHODS.into_iter().enumerate() {
        let (one, method) = (format!("one-{index}"), [method, &packed].concat());
        run(&mut case.command(1, &one, &method));
        assert!(case.column(&one, "loss").len() > 1);
        for (name, more) in [("plain", &[][..]), ("sharded", &["--ds_file", &file])] {
            let several = format!("{name}-{index}");
            run(&mut case.command(2, &several, &[&method[..], more].concat()));
            case.assert_close(&several, &one);
        }
    }
}

/// A model that answers has all its weights for as long.
#[test]
fn answers_are_scored_with_shared_weights() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    let eval = ["--val_size", "3", "--eval_task", "text", "--eval_rows", "2"];
    let steps = ["--max_steps", "2", "--general_path"];
    let abilities = case.path("abilities.jsonl");
    let row = r#"{"ability": "naming", "instruction": "name", "input": "it", "output": "a name"}"#;
    fs::write(&abilities, format!("{row}\n{row}\n{row}\n")).unwrap();
    let more = [METHODS[1], &eval, &steps, &[&abilities]].concat();
    run(&mut case.command(1, "one", &more));
    let sharded = [&more[..], &["--ds_file", &file]].concat();
    let said = run(&mut case.command(2, "two", &sharded));
    assert!(said.contains("naming"), "{said}");
    let score = |output: &str| {
        let text = fs::read_to_string(case.path(output) + "/abilities.json").unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["abilities"][0]["after"]["score"].clone()
    };
    assert!(score("two").is_number());
    assert_eq!(score("two"), score("one"));
}

/// What cannot share the weights out says so.
#[test]
fn stages_and_replicas_are_refused() {
    let case = Case::new();
    let file = stage3(case.dir.path());
    let more = [METHODS[1], &["--ds_file", &file, "--pipeline_stages", "2"]].concat();
    let output = case.command(2, "refused", &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(said.contains("zero_optimization.stage 3"), "{said}");
}

/// What a rank keeps of the weights falls with the number of ranks.
#[test]
fn a_rank_keeps_a_part_of_the_weights() {
    let case = Case::of("100m");
    let file = stage3(case.dir.path());
    let lora = [
        METHODS[1],
        &["--max_steps", "2", "--gradient_checkpointing"],
    ]
    .concat();
    // What is free goes back to the system at once, however busy the machine is.
    let measured = |output: &str, more: &[&str]| {
        let mut command = case.command(4, output, more);
        run(command.env("MIMALLOC_PURGE_DELAY", "0"));
    };
    measured("whole", &lora);
    measured("parts", &[&lora[..], &["--ds_file", &file]].concat());
    let highest = |output: &str| {
        let memory = case.column(output, "memory_bytes");
        memory.into_iter().fold(0.0, f64::max)
    };
    let weights = fs::metadata(case.path("model") + "/model-00001-of-00001.safetensors");
    let weights = weights.unwrap().len() as f64;
    let (whole, parts) = (highest("whole"), highest("parts"));
    // Three quarters of the weights are gone, but for a segment at work.
    assert!(whole - parts > 0.4 * weights, "{whole} {parts} {weights}");
}

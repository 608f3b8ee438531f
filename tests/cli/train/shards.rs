//! Weights in parts on the devices of one process (`zero_optimization.stage` 3), on the CPU, whose devices are threads:
//! the losses are those of one device.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use super::{GoldenRun, assert_same_validations, column};
use crate::common::golden_run::{RUNS, stage3};

/// Largest `max|a-b| / max|b|` of a trajectory.
const TOLERANCE: f64 = 1e-4;

/// A run on some devices that share the weights out, each with one micro-batch of a step.
fn shared(golden: &GoldenRun, name: &str, devices: usize, more: &[&str]) -> std::path::PathBuf {
    let file = stage3(golden.folder.path());
    let devices: Vec<String> = (0..devices).map(|device| device.to_string()).collect();
    let devices = devices.join(",");
    let args = [
        "--backend",
        "flex",
        "--devices",
        &devices,
        "--gradient_accumulation_steps",
        "1",
        "--ds_file",
        &file,
    ];
    golden.train(name, &[&args, more].concat())
}

/// A run on one device with as many micro-batches in a step.
fn alone(golden: &GoldenRun, micro_batches: usize, more: &[&str]) -> std::path::PathBuf {
    let micro_batches = micro_batches.to_string();
    let args = [
        "--backend",
        "flex",
        "--gradient_accumulation_steps",
        &micro_batches,
    ];
    golden.train("alone", &[&args, more].concat())
}

fn assert_same(what: &str, found: &Path, expected: &Path, steps: usize) {
    for name in ["loss", "grad_norm", "lr"] {
        let (found, expected) = (column(found, name), column(expected, name));
        assert_eq!((found.len(), expected.len()), (steps, steps), "{what}");
        for (a, b) in found.iter().zip(&expected) {
            let near = (a - b).abs() <= TOLERANCE * b.abs();
            assert!(near, "{what}: {name}: {found:?} {expected:?}");
        }
    }
}

/// Two devices with a micro-batch each make the golden runs' accumulation of two.
fn golden_runs(family: &str) {
    for run in RUNS {
        let golden = GoldenRun::new(family, run);
        let output = shared(&golden, "two", 2, &[]);
        golden.assert_trajectory(run, &output, TOLERANCE);
        let in_host = shared(&golden, "host", 2, &["--offload_optimizer"]);
        golden.assert_trajectory(run, &in_host, TOLERANCE);
    }
}

#[test]
fn chatglm() {
    golden_runs("chatglm");
}

#[test]
fn chatglm2() {
    golden_runs("chatglm2");
}

#[test]
fn chatglm3() {
    golden_runs("chatglm3");
}

#[test]
fn glm4() {
    golden_runs("glm4");
}

/// Four devices are one with four times the accumulation, be it in float32 or with rounded weights, and be some of the
/// devices idle.
#[test]
fn four_devices_are_one() {
    for run in ["all", "freeze", "lora_all", "prefix_projection"] {
        for (more, steps) in [
            (&[][..], 6),
            (&["--per_device_train_batch_size", "8"], 2),
            (&["--offload_param"], 6),
        ] {
            let golden = GoldenRun::new("chatglm2", run);
            let what = format!("{run} {more:?}");
            let four = shared(&golden, "four", 4, more);
            assert_same(&what, &four, &alone(&golden, 4, more), steps);
        }
    }
}

/// Half precision stays near the float32 course, as without shards.
#[test]
fn half_precision_follows_float32() {
    for dtype in ["bf16", "f16"] {
        for run in ["all", "lora_all"] {
            let golden = GoldenRun::new("chatglm2", run);
            let found = column(&shared(&golden, "two", 2, &["--dtype", dtype]), "loss");
            let expected = golden.trajectory(run, "loss");
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() / b <= 0.02, "{dtype} {run}: {a} {b}");
            }
        }
    }
}

/// Goes on with other numbers of devices, and with another stage.
#[test]
fn resumed() {
    for run in ["all", "freeze", "lora"] {
        let golden = GoldenRun::new("chatglm2", run);
        let step = |steps: &'static str| ["--max_steps", steps];
        let whole = alone(&golden, 4, &step("6"));
        let four = |devices: usize, steps, more: &[&str]| {
            let each = (4 / devices).to_string();
            let more = [more, &step(steps)].concat();
            let each = ["--gradient_accumulation_steps", &each];
            shared(&golden, "parts", devices, &[&each[..], &more].concat());
        };
        four(4, "2", &[]);
        four(2, "3", &["--resume"]);
        four(2, "4", &["--resume", "--offload_optimizer"]);
        let resumed = ["--resume", "--max_steps", "5"];
        let one = ["--backend", "flex", "--gradient_accumulation_steps", "4"];
        golden.train("parts", &[&one[..], &resumed].concat());
        four(4, "6", &["--resume"]);
        assert_same(run, &golden.folder.path().join("parts"), &whole, 6);
        let [found, expected] = ["parts", "alone"].map(|name| trained(&golden, name));
        for (path, expected) in expected {
            // What is added to all keys alike changes nothing: its gradient is rounding.
            if path.ends_with("query_key_value.bias") {
                continue;
            }
            let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            for (a, b) in found[&path].iter().zip(&expected) {
                assert!((a - b).abs() <= 1e-3 * largest, "{run} {path}: {a} {b}");
            }
        }
    }
}

/// The trained weights and the moments of the last checkpoint of six steps.
fn trained(golden: &GoldenRun, name: &str) -> BTreeMap<String, Vec<f32>> {
    let dir = golden.folder.path().join(name).join("checkpoint/step-6");
    let mut all = BTreeMap::new();
    for file in ["weights.safetensors", "optimizer.safetensors"] {
        let bytes = fs::read(dir.join(file)).unwrap();
        for (path, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let values = tensor.data().chunks_exact(4);
            let values = values.map(|value| f32::from_le_bytes(value.try_into().unwrap()));
            all.insert(path, values.collect());
        }
    }
    all
}

/// The best model goes to every device, and is measured there.
#[test]
fn validated() {
    for run in ["all", "lora"] {
        let golden = GoldenRun::new("chatglm2", run);
        let rows = golden.folder.path().join("rows.jsonl");
        let eval = ["--eval_path", rows.to_str().unwrap(), "--eval_steps", "2"];
        let more = [&eval[..], &["--max_steps", "4", "--load_best_model_at_end"]].concat();
        let (two, one) = (shared(&golden, "two", 2, &more), alone(&golden, 2, &more));
        assert_same_validations(&two, &one, 2, TOLERANCE);
    }
}

/// Whole blocks cannot be dealt out where every weight is shared out.
#[test]
fn no_pipeline() {
    let golden = GoldenRun::new("chatglm2", "lora");
    let file = stage3(golden.folder.path());
    let more = [
        "--devices",
        "0,1",
        "--pipeline_stages",
        "2",
        "--ds_file",
        &file,
    ];
    let said = golden.run("out", &[&["--backend", "flex"], &more[..]].concat());
    let said = said.failure(2);
    assert!(said.contains("--pipeline_stages"), "{said}");
}

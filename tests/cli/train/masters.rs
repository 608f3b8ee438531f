//! Float32 masters beside weights in a compute type: they start from what the files hold, are what is
//! written, and come back.

use std::fs;
use std::path::Path;

use super::{GoldenRun, column};

/// The tensors of a file by their names, as they are stored.
fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

/// The file of an adapter, by the golden run that made it.
fn adapter_file(run: &str) -> &'static str {
    match run {
        "lora" | "lora_all" => "adapter_model.safetensors",
        _ => "model.safetensors",
    }
}

/// What is trained at a learning rate of 0 is what it was, to the bit.
#[test]
fn without_a_learning_rate_an_adapter_stays_as_it_is() {
    for (family, run) in [
        ("chatglm", "lora_all"),
        ("chatglm2", "lora_all"),
        ("chatglm2", "prefix"),
        ("chatglm3", "prefix_projection"),
    ] {
        let golden = GoldenRun::new(family, run);
        let expected = tensors(&golden.adapter().join(adapter_file(run)));
        for dtype in ["bf16", "f16", "f32"] {
            for placement in ["--offload_optimizer", "--offload_param"] {
                let name = format!("{dtype}{placement}");
                let fixed = [
                    "--backend",
                    "flex",
                    "--learning_rate",
                    "0",
                    "--dtype",
                    dtype,
                ];
                let fixed = [&fixed[..], &[placement]].concat();
                golden.train(&name, &[&fixed[..], &["--max_steps", "5"]].concat());
                let output = golden.train(&name, &[&fixed[..], &["--resume"]].concat());
                for step in ["epoch-1-step-5", "epoch-1-step-12"] {
                    let found = tensors(&output.join(step).join(adapter_file(run)));
                    let equal = found == expected;
                    assert!(equal, "{family} {run} {name}: {step} is another");
                }
            }
        }
    }
}

/// A run goes on from a checkpoint wherever the one before it had its masters and moments.
#[test]
fn the_place_of_the_optimizer_may_change() {
    for run in ["lora_all", "prefix_projection", "all"] {
        // A norm that is summed in another order may move a weight by a bit, which is much in 16 of them.
        for (dtype, tolerance) in [("f32", 1e-5), ("bf16", 0.02)] {
            let golden = GoldenRun::new("chatglm2", run);
            let fixed = ["--backend", "flex", "--dtype", dtype];
            let whole = golden.train("whole", &fixed);
            for (first, then) in [
                (&[][..], &["--offload_optimizer"][..]),
                (&["--offload_optimizer"], &[]),
                (&["--offload_param"], &["--gradient_checkpointing"]),
            ] {
                let part =
                    golden.train("part", &[&fixed[..], first, &["--max_steps", "4"]].concat());
                let again = [&fixed[..], then, &["--max_steps", "8", "--resume"]].concat();
                golden.train("part", &again);
                golden.train("part", &[&fixed[..], first, &["--resume"]].concat());
                for name in ["loss", "lr", "grad_norm"] {
                    let pairs = column(&part, name).into_iter().zip(column(&whole, name));
                    let pairs: Vec<(f64, f64)> = pairs.collect();
                    assert_eq!(pairs.len(), 12);
                    for (a, b) in pairs {
                        let close = (a - b).abs() <= tolerance * b.abs();
                        assert!(close, "{run} {dtype} {first:?} {then:?}: {name}: {a} {b}");
                    }
                }
                fs::remove_dir_all(&part).unwrap();
            }
        }
    }
}

/// The adapter of an offloaded run in half precision holds the masters, not their rounded copies.
#[test]
fn outputs_hold_the_masters() {
    for run in ["lora_all", "prefix"] {
        let golden = GoldenRun::new("chatglm2", run);
        let flags = [
            "--backend",
            "flex",
            "--dtype",
            "bf16",
            "--offload_optimizer",
        ];
        let output = golden.train("out", &flags).join("epoch-1-step-12");
        let found = tensors(&output.join(adapter_file(run)));
        let values = found.iter().flat_map(|(_, bytes)| bytes.chunks_exact(4));
        // The lower half of a float32 number is what bfloat16 lacks.
        let exact = values
            .filter(|value| value[0] != 0 || value[1] != 0)
            .count();
        let all = found
            .iter()
            .map(|(_, bytes)| bytes.len() / 4)
            .sum::<usize>();
        assert!(exact > all / 2, "{run}: {exact} of {all}");
    }
}

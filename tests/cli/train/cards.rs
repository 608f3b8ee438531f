//! Several CUDA cards in one process, on the device in software: the losses of one card, and what moves in a step.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{GoldenRun, assert_same_validations, column};
use crate::common::golden_run::{matrices, stage3, visits};
use crate::common::software_cuda::{capability, libraries};
use crate::{Run, glmtune_on_software_cuda, glmtune_on_traced_cuda};

/// Largest `max|a-b| / max|b|` of a trajectory.
const TOLERANCE: f64 = 1e-3;
/// Rows of a micro-batch of which there are six: a step of four has two left over.
const LEFT_OVER: [&str; 2] = ["--per_device_train_batch_size", "8"];

/// A run on some cards, each with one micro-batch of a step.
fn on_cards(golden: &GoldenRun, name: &str, cards: usize, more: &[&str]) -> Option<PathBuf> {
    let libraries = libraries()?;
    train(golden, name, cards, more, &|cards, args| {
        glmtune_on_software_cuda(libraries, capability::WITHOUT_TF32, cards, args)
    })
    .success();
    Some(golden.folder.path().join(name))
}

fn train(
    golden: &GoldenRun,
    name: &str,
    cards: usize,
    more: &[&str],
    glmtune: &dyn Fn(&str, &[&str]) -> Run,
) -> Run {
    let devices: Vec<String> = (0..cards).map(|card| card.to_string()).collect();
    let devices = devices.join(",");
    let mut args = vec!["--backend", "cuda", "--devices", &devices];
    args.extend(["--gradient_accumulation_steps", "1"]);
    args.extend(more);
    golden.run_by(name, &args, |args| glmtune(&cards.to_string(), args))
}

/// A run on the CPU with as many micro-batches in a step.
fn on_one_device(golden: &GoldenRun, micro_batches: usize, more: &[&str]) -> PathBuf {
    let micro_batches = micro_batches.to_string();
    let mut args = vec!["--backend", "flex", "--gradient_accumulation_steps"];
    args.push(&micro_batches);
    args.extend(more);
    golden.train("one", &args)
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

/// Two cards with a micro-batch each make the golden runs' accumulation of two.
fn two_cards(family: &str, run: &str, more: &[&str]) {
    let golden = GoldenRun::new(family, run);
    if let Some(output) = on_cards(&golden, "two", 2, more) {
        golden.assert_trajectory(run, &output, TOLERANCE);
    }
}

fn four_cards(run: &str, more: &[&str], steps: usize) {
    let golden = GoldenRun::new("chatglm2", run);
    if let Some(output) = on_cards(&golden, "four", 4, more) {
        assert_same(run, &output, &on_one_device(&golden, 4, more), steps);
    }
}

/// The same with weights in parts on the cards.
fn shared_by_two(family: &str, run: &str, more: &[&str]) {
    let golden = GoldenRun::new(family, run);
    let file = stage3(golden.folder.path());
    let more = [&["--ds_file", &file], more].concat();
    if let Some(output) = on_cards(&golden, "two", 2, &more) {
        golden.assert_trajectory(run, &output, TOLERANCE);
    }
}

fn shared_by_four(run: &str, more: &[&str], steps: usize) {
    let golden = GoldenRun::new("chatglm2", run);
    let file = stage3(golden.folder.path());
    let four = [&["--ds_file", &file], more].concat();
    if let Some(output) = on_cards(&golden, "four", 4, &four) {
        assert_same(run, &output, &on_one_device(&golden, 4, more), steps);
    }
}

macro_rules! runs {
    ($($run:ident)*) => {
        mod two_share {
            $(#[test]
            fn $run() {
                super::shared_by_two("chatglm2", stringify!($run), &[]);
            })*
        }

        mod four_share {
            $(#[test]
            fn $run() {
                super::shared_by_four(stringify!($run), &[], 6);
            })*
        }

        mod two {
            $(#[test]
            fn $run() {
                super::two_cards("chatglm2", stringify!($run), &[]);
            })*
        }

        mod four {
            $(#[test]
            fn $run() {
                super::four_cards(stringify!($run), &[], 6);
            })*
        }
    };
}
runs!(all freeze lora lora_all prefix prefix_projection);

/// Gradients meet a segment at a time, while the backward pass goes on.
#[test]
fn checkpointed() {
    two_cards("chatglm2", "all", &["--gradient_checkpointing"]);
    two_cards(
        "chatglm",
        "prefix_projection",
        &["--gradient_checkpointing"],
    );
}

/// Weights that visit every card, and one update in the host's memory for all.
#[test]
fn offloaded() {
    two_cards("chatglm2", "all", &["--offload_optimizer"]);
    two_cards(
        "chatglm2",
        "lora",
        &["--offload_param", "--offload_optimizer"],
    );
}

/// The other architecture, one update in the host's memory for all parts, cards without a micro-batch, and parts in one
/// memory of the host's.
#[test]
fn shared_otherwise() {
    shared_by_two("chatglm", "all", &[]);
    shared_by_two("chatglm2", "all", &["--offload_optimizer"]);
    shared_by_two("chatglm2", "lora", &["--offload_param"]);
    shared_by_four("freeze", &LEFT_OVER, 2);
}

/// Cards that have no micro-batch in a step get the sum of the others.
#[test]
fn idle_cards() {
    four_cards("lora", &LEFT_OVER, 2);
    four_cards(
        "lora",
        &[&LEFT_OVER[..], &["--offload_optimizer"]].concat(),
        2,
    );
}

/// Moments and weights come back to every card.
#[test]
fn resumed() {
    let golden = GoldenRun::new("chatglm2", "lora_all");
    let Some(whole) = on_cards(&golden, "whole", 2, &["--max_steps", "6"]) else {
        return;
    };
    on_cards(&golden, "parts", 2, &["--max_steps", "3"]);
    let parts = on_cards(&golden, "parts", 2, &["--max_steps", "6", "--resume"]);
    assert_same("resumed", &parts.unwrap(), &whole, 6);
}

/// The best model goes to every card, and is measured there.
#[test]
fn validated() {
    let golden = GoldenRun::new("chatglm2", "lora");
    let rows = golden.folder.path().join("rows.jsonl");
    let eval = ["--eval_path", rows.to_str().unwrap(), "--eval_steps", "2"];
    let more = [&eval[..], &["--max_steps", "4", "--load_best_model_at_end"]].concat();
    let Some(cards) = on_cards(&golden, "two", 2, &more) else {
        return;
    };
    let one = on_one_device(&golden, 2, &more);
    assert_same_validations(&cards, &one, 2, TOLERANCE);
}

/// Without NCCL gradients meet in the host's memory, and the run says so once.
#[test]
fn without_nccl() {
    let Some(libraries) = libraries() else { return };
    let golden = GoldenRun::new("chatglm2", "lora");
    let without = golden.folder.path().join("without");
    std::fs::create_dir(&without).unwrap();
    for entry in std::fs::read_dir(libraries).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("libnccl") {
            symlink(&path, without.join(name)).unwrap();
        }
    }
    let file = stage3(golden.folder.path());
    for (name, more) in [("two", &[][..]), ("shared", &["--ds_file", &file])] {
        let run = train(&golden, name, 2, more, &|cards, args| {
            glmtune_on_software_cuda(&without, capability::WITHOUT_TF32, cards, args)
        });
        let said = [run.stdout.as_str(), run.stderr.as_str()].concat();
        assert_eq!(said.matches("NCCL").count(), 1, "{said}");
        run.success();
        golden.assert_trajectory("lora", &golden.folder.path().join(name), TOLERANCE);
    }
}

/// What a step moves, in bytes: to all cards, from all cards, between two of them by copies, and by NCCL.
#[derive(Debug)]
struct Moved {
    uploaded: u64,
    downloaded: u64,
    copied: u64,
    summed: u64,
}

/// What a step with one micro-batch for each card moves.
fn moved(golden: &GoldenRun, libraries: &Path, cards: usize, more: &[&str]) -> Moved {
    let traced = |steps: &str| -> Value {
        let name = format!("{cards}-{steps}");
        let trace = golden.folder.path().join(format!("{name}.json"));
        let more = [more, &["--max_steps", steps]].concat();
        train(golden, &name, cards, &more, &|cards, args| {
            glmtune_on_traced_cuda(libraries, cards, &trace, args)
        })
        .success();
        serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap()
    };
    // The second step is like all that follow; the first compiles and fills caches.
    let (short, long) = (traced("2"), traced("4"));
    let step = |count: &dyn Fn(&Value) -> u64| (count(&long) - count(&short)) / 2;
    let bytes = |place: &'static str| move |trace: &Value| trace[place]["bytes"].as_u64().unwrap();
    Moved {
        uploaded: step(&bytes("h2d")),
        downloaded: step(&bytes("d2h")),
        copied: step(&bytes("peer")),
        summed: step(&|trace| {
            let kinds = trace["nccl"].as_object().unwrap().values();
            kinds.map(|kind| kind["bytes"].as_u64().unwrap()).sum()
        }),
    }
}

/// Number and bytes of the trained tensors, by a run's checkpoint.
fn trained(output: &Path) -> (u64, u64) {
    let file = output.join("checkpoint/step-2/weights.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = header.tensors().into_values();
    let sizes = tensors.map(|info| (info.data_offsets.1 - info.data_offsets.0) as u64);
    sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
}

/// After the start only gradients move, once for each card, and only between cards: no weight, be it trained or not.
#[test]
fn a_step_moves_gradients_alone() {
    let Some(libraries) = libraries() else { return };
    for run in ["lora", "all"] {
        let golden = GoldenRun::new("chatglm2", run);
        let one = moved(&golden, libraries, 1, &[]);
        let (tensors, bytes) = trained(&golden.folder.path().join("1-2"));
        for cards in [2, 4] {
            let step = moved(&golden, libraries, cards, &[]);
            let count = cards as u64;
            let what = format!("{run} on {cards}: {step:?}, on one {one:?}, trained {bytes}");
            println!("{what}");
            // Losses and the norm, and rows with their positions and masks.
            assert!(step.downloaded <= count * one.downloaded, "{what}");
            assert!(
                step.uploaded <= count * (one.uploaded + one.uploaded / 4),
                "{what}"
            );
            assert_eq!(step.copied, 0, "{what}");
            // Tensors share rows, in which each begins at a multiple of a kilobyte.
            let expected = count * bytes..=count * (bytes + 1024 * tensors);
            assert!(expected.contains(&step.summed), "{what}");
        }
    }
}

/// Parts of weights are copied when their segment's turn comes, forward and backward, to each card from each other one,
/// and as many zeros the other way: nothing else but gradients moves between cards.
#[test]
fn a_step_gathers_each_segment_in_its_turn() {
    let Some(libraries) = libraries() else { return };
    for (run, embeddings) in [("lora", false), ("all", true)] {
        let golden = GoldenRun::new("chatglm2", run);
        let file = stage3(golden.folder.path());
        for cards in [2, 4] {
            let whole = moved(&golden, libraries, cards, &["--gradient_checkpointing"]);
            let step = moved(&golden, libraries, cards, &["--ds_file", &file]);
            let what = format!("{run} on {cards}: {step:?}, without shards {whole:?}");
            println!("{what}");
            let others = cards - 1;
            // A part is a multiple of 256 elements; each copy counts on both sides.
            let gathers = matrices("chatglm2").into_iter().map(|(path, elements)| {
                let part = elements.div_ceil(cards).next_multiple_of(256);
                visits(&path, 0, embeddings) * cards * others * 2 * part
            });
            let gathered = 4 * gathers.sum::<usize>() as u64;
            assert_eq!(step.summed, whole.summed + gathered, "{what}");
            assert_eq!(step.copied, 0, "{what}");
            assert!(step.uploaded <= whole.uploaded * 5 / 4, "{what}");
            assert!(step.downloaded <= whole.downloaded, "{what}");
        }
    }
}

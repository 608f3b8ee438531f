//! `--packing` and `--group_by_length`.

use std::fs;
use std::path::Path;

use super::resume::Case;
use super::{GoldenRun, column, metrics};
use crate::common::FAMILIES;
use crate::{glmtune, tiny};

/// Largest difference of a loss, a rate or a norm, as a part of it.
const TOLERANCE: f64 = 1e-4;

fn assert_equal(what: &str, found: &Path, expected: &Path) {
    for name in ["loss", "lr", "grad_norm", "tokens"] {
        let (found, expected) = (column(found, name), column(expected, name));
        assert_eq!(found.len(), expected.len(), "{what}: steps");
        for (a, b) in found.iter().zip(&expected) {
            assert!(
                (a - b).abs() <= TOLERANCE * b.abs(),
                "{what}: {name}: {a} {b}"
            );
        }
    }
}

/// All rows in one sequence, step after step, against all rows in one micro-batch.
fn packed_as_unpacked(family: &str) {
    for run in ["all", "freeze", "lora_all", "prefix", "prefix_projection"] {
        let golden = GoldenRun::new(family, run);
        let steps = ["--backend=flex", "--num_train_epochs=4", "--max_len=2000"];
        let steps = [&steps[..], &["--gradient_accumulation_steps=1"]].concat();
        let plain = ["--per_device_train_batch_size=48"];
        let plain = golden.train("plain", &[&steps[..], &plain].concat());
        let packed = ["--per_device_train_batch_size=1", "--packing"];
        let packed = golden.train("packed", &[&steps[..], &packed].concat());
        assert_eq!(metrics(&plain).len(), 4);
        assert_equal(&format!("{family}, {run}"), &packed, &plain);
    }
}

#[test]
fn a_packed_step_is_that_of_the_same_rows_unpacked() {
    FAMILIES.into_iter().for_each(packed_as_unpacked);
}

#[test]
fn packed_sequences_are_trained_in_every_way() {
    for (family, run) in [("chatglm", "prefix_projection"), ("chatglm2", "all")] {
        let golden = GoldenRun::new(family, run);
        let packed = ["--backend=flex", "--packing", "--max_len=200"];
        let packed = [&packed[..], &["--per_device_train_batch_size=1"]].concat();
        let train = |name: &str, more: &[&str]| golden.train(name, &[&packed[..], more].concat());
        let one = train("one", &["--gradient_accumulation_steps=2"]);
        let steps = metrics(&one).len();
        assert!((3..12).contains(&steps), "{steps} steps");
        let two = "--gradient_accumulation_steps=2";
        for (name, more) in [
            ("checkpointed", &[two, "--gradient_checkpointing"][..]),
            (
                "offloaded",
                &[two, "--offload_param", "--offload_optimizer"],
            ),
            ("pipeline", &[two, "--pipeline_stages=2"]),
            (
                "replicas",
                &["--gradient_accumulation_steps=1", "--devices=0,1"],
            ),
        ] {
            assert_equal(&format!("{family}, {name}"), &train(name, more), &one);
        }
    }
}

/// What is written of a run, but for times and memory.
fn course(output: &str) -> Vec<String> {
    let rows = metrics(Path::new(output)).into_iter();
    rows.map(|row| {
        let names = ["step", "epoch", "loss", "lr", "grad_norm", "tokens"];
        names.map(|name| row[name].to_string()).join(" ")
    })
    .collect()
}

#[test]
fn a_packed_run_goes_on_to_the_bit_and_stays_packed() {
    let case = Case::new();
    let packed = ["--packing", "--max_len=250", "--max_src_len=64"];
    let (whole, parts) = (case.output("whole"), case.output("parts"));
    let said = glmtune(&case.args(&whole, &packed)).success();
    let expected = course(&whole);
    assert!(said.contains("packed sequences: "), "{said}");
    assert!((4..14).contains(&expected.len()), "{expected:?}");
    // The rows of each epoch come together in other ways.
    let tokens = column(Path::new(&whole), "tokens");
    let (first, second) = tokens.split_at(tokens.len() / 2);
    assert_eq!(first.iter().sum::<f64>(), second.iter().sum::<f64>());
    assert_ne!(first, second);
    for steps in ["1", "2", "3"] {
        let limit = [&packed[..], &["--resume", "--max_steps", steps]].concat();
        glmtune(&case.args(&parts, &limit)).success();
    }
    let unpacked = ["--resume", "--max_len=250"];
    let error = glmtune(&case.args(&parts, &unpacked)).failure(2);
    assert!(error.contains("packing was true, is absent"), "{error}");
    glmtune(&case.args(&parts, &[&packed[..], &["--resume"]].concat())).success();
    assert_eq!(course(&parts), expected);
    let seed = [&packed[..], &["--seed=5"]].concat();
    let other = case.output("other");
    glmtune(&case.args(&other, &seed)).success();
    assert_eq!(course(&other).len(), expected.len());
    assert_ne!(column(Path::new(&other), "tokens"), tokens);
}

#[test]
fn rows_of_like_length_come_together() {
    let case = Case::new();
    let output = case.output("out");
    let more = ["--group_by_length", "--gradient_accumulation_steps=1"];
    let said = glmtune(&case.args(&output, &more)).success();
    assert!(said.contains("of like length, "), "{said}");
    let tokens = column(Path::new(&output), "tokens");
    assert_eq!(tokens.len(), 28);
    let ordinary = case.output("ordinary");
    let said = glmtune(&case.args(&ordinary, &["--gradient_accumulation_steps=1"])).success();
    assert!(said.contains("padding: "), "{said}");
    let spread = |tokens: &[f64]| tokens.iter().map(|tokens| tokens * tokens).sum::<f64>();
    assert!(spread(&tokens) > spread(&column(Path::new(&ordinary), "tokens")));
}

#[test]
fn packing_and_grouping_are_refused_together() {
    let case = Case::new();
    let output = case.output("out");
    let both = ["--packing", "--group_by_length"];
    let error = glmtune(&case.args(&output, &both)).failure(2);
    assert!(
        error.contains("packing and group_by_length exclude"),
        "{error}"
    );
    // A file of settings has them by their names.
    let config = case.output("run.toml");
    fs::write(&config, "packing = true\n").unwrap();
    let more = ["--group_by_length", "--config", &config];
    let error = glmtune(&case.args(&output, &more)).failure(2);
    assert!(
        error.contains("packing and group_by_length exclude"),
        "{error}"
    );
}

#[test]
fn a_plan_and_a_dry_run_are_of_packed_sequences() {
    let (_dir, model) = tiny("glm2");
    let more = [
        "--packing",
        "--max_len=300",
        "--max_src_len=100",
        "--per_device_train_batch_size=1",
    ];
    let plan = glmtune(&[&["inspect", &model, "--plan", "--json"], &more[..]].concat()).success();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["plan of lora, f32"]["packed sequence"], 300, "{plan}");

    let case = Case::new();
    let packed = [
        "--packing",
        "--max_len=250",
        "--max_src_len=64",
        "--dry_run",
    ];
    let said = glmtune(&case.args(&case.output("dry"), &packed)).success();
    let steps: usize = said
        .split(" steps, ")
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap();
    let output = case.output("out");
    glmtune(&case.args(&output, &packed[..3])).success();
    assert_eq!(metrics(Path::new(&output)).len(), steps, "{said}");
}

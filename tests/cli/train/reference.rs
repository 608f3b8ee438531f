//! The command lines of the Python ancestor's README, with `deepspeed … train.py` replaced: the paths of
//! model and files are ours, `--max_steps 2` ends them, and everything else is as its users have it.

use std::path::Path;

use super::metrics;
use crate::{file, glmtune, tiny};

/// The values that a command line of the README has for every method.
const COMMON: &[&str] = &[
    "--per_device_train_batch_size",
    "1",
    "--learning_rate",
    "1e-4",
    "--weight_decay",
    "0.1",
    "--num_train_epochs",
    "2",
    "--gradient_accumulation_steps",
    "4",
    "--warmup_ratio",
    "0.1",
    "--seed",
    "1234",
    "--gradient_checkpointing",
    "--show_loss_step",
    "10",
];
const LONG: &[&str] = &["--max_len", "1560", "--max_src_len", "1024"];
const SHORT: &[&str] = &["--max_len", "768", "--max_src_len", "512"];
/// The README's `layers.27.,layers.26.,…` on a model of four blocks.
const FREEZE: &[&str] = &[
    "--train_type",
    "freeze",
    "--freeze_module_name",
    "layers.3.,layers.2.,layers.1.,layers.0.",
];
const PTUNING: &[&str] = &[
    "--train_type",
    "ptuning",
    "--pre_seq_len",
    "16",
    "--prefix_projection",
    "True",
];
const LORA: &[&str] = &[
    "--train_type",
    "lora",
    "--lora_dim",
    "16",
    "--lora_alpha",
    "64",
    "--lora_dropout",
    "0.1",
    "--lora_module_name",
    "query_key_value",
];
const ALL: &[&str] = &["--train_type", "all"];

/// The ancestor's DeepSpeed files.
fn deepspeed(stage: u8, offload: &str) -> String {
    let gather = match stage {
        3 => r#", "stage3_gather_16bit_weights_on_model_save": true"#,
        _ => "",
    };
    format!(
        r#"{{"train_batch_size": 32, "train_micro_batch_size_per_gpu": 4, "steps_per_print": 1,
        "zero_optimization": {{"stage": {stage}, "offload_param": {{"device": "{offload}"}},
            "offload_optimizer": {{"device": "{offload}"}}{gather}}},
        "bf16": {{"enabled": false}},
        "fp16": {{"enabled": true, "loss_scale": 0, "loss_scale_window": 100}},
        "gradient_clipping": 1.0, "prescale_gradients": false, "wall_clock_breakdown": false,
        "scheduler": {{"type": "WarmupDecayLR", "params": {{"last_batch_iteration": -1,
            "total_num_steps": "auto", "warmup_min_lr": "auto", "warmup_max_lr": "auto",
            "warmup_num_steps": "auto", "warmup_type": "cosine"}}}},
        "optimizer": {{"type": "AdamW", "params": {{"lr": "auto", "betas": "auto", "eps": "auto",
            "weight_decay": "auto"}}}}}}"#
    )
}

fn rows() -> String {
    (0..12)
        .map(|row| {
            let row = serde_json::json!({
                "instruction": "抽取三元组。文本：",
                "input": format!("第{row}台发动机水温高。"),
                "output": "发动机_部件故障_水温高",
            });
            format!("{row}\n")
        })
        .collect()
}

/// Runs the README's command lines of a method in a mode.
fn run(mode: &str, limits: &[&str], method: &[&str], stage: u8, offload: &str) {
    let (dir, model) = tiny(mode);
    let train_path = file(&dir, "spo_0.json", &rows());
    let ds_file = file(&dir, "ds.json", &deepspeed(stage, offload));
    let output = dir.path().join("output-glm");
    let mut args = vec!["train", "--train_path", &train_path];
    args.extend(["--model_name_or_path", &model, "--mode", mode]);
    args.extend(["--ds_file", &ds_file]);
    args.extend(["--output_dir", output.to_str().unwrap()]);
    args.extend(COMMON.iter().chain(limits).chain(method));
    args.extend(["--max_steps", "2", "--backend", "flex", "--no_cache"]);
    let said = glmtune(&args).success();
    assert!(said.contains("trainable params: "), "{said}");
    assert!(
        said.contains("warmup_type"),
        "a key that does nothing is named: {said}"
    );
    check(&output, method[1]);
}

fn check(output: &Path, method: &str) {
    assert_eq!(metrics(output).len(), 2);
    let saved = output.join("epoch-1-step-2");
    let file = match method {
        "lora" => "adapter_model.safetensors",
        "ptuning" => "model.safetensors",
        _ => "model-00001-of-00001.safetensors",
    };
    assert!(saved.join(file).exists(), "{}", saved.display());
    assert!(saved.join("glmtune.json").exists());
    assert!(output.join("loss.svg").exists());
    assert_eq!(std::fs::read_dir(output.join("runs")).unwrap().count(), 1);
}

/// One card and four cards have the same command line; only the environment differs.
#[test]
fn freeze() {
    run("glm", LONG, FREEZE, 2, "auto");
    run("glm2", LONG, FREEZE, 2, "auto");
}

#[test]
fn ptuning() {
    run("glm", SHORT, PTUNING, 2, "auto");
    run("glm", LONG, PTUNING, 2, "auto");
    run("glm2", LONG, PTUNING, 2, "auto");
}

#[test]
fn lora() {
    run("glm", LONG, LORA, 2, "auto");
    run("glm2", LONG, LORA, 2, "auto");
}

#[test]
fn all_parameters() {
    run("glm", LONG, ALL, 3, "cpu");
    run("glm2", LONG, ALL, 3, "auto");
}

//! Whole files, and every key of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;
use crate::schedule::{Decay, Warmup};

/// The ancestor's `ds_zero3_offload.json`.
const ZERO3_OFFLOAD: &str = r#"{
  "train_batch_size": 32,
  "train_micro_batch_size_per_gpu": 4,
  "steps_per_print": 1,
  "zero_optimization": {
    "stage": 3,
    "offload_param": {
      "device": "cpu"
    },
    "offload_optimizer": {
      "device": "cpu"
    },
    "stage3_gather_16bit_weights_on_model_save": true
  },
  "bf16": {
    "enabled": false
  },
  "fp16": {
    "enabled": true,
    "loss_scale": 0,
    "loss_scale_window": 100
  },
  "gradient_clipping": 1.0,
  "prescale_gradients": false,
  "wall_clock_breakdown": false,
  "scheduler": {
        "type": "WarmupDecayLR",
        "params": {
            "last_batch_iteration": -1,
            "total_num_steps": "auto",
            "warmup_min_lr": "auto",
            "warmup_max_lr": "auto",
            "warmup_num_steps": "auto",
            "warmup_type": "cosine"
        }
    },
  "optimizer": {
        "type": "AdamW",
        "params": {
            "lr": "auto",
            "betas": "auto",
            "eps": "auto",
            "weight_decay": "auto"
        }
    }
}"#;

/// The ancestor's `ds_zero3_no_offload.json`.
fn zero3() -> String {
    ZERO3_OFFLOAD.replace("\"cpu\"", "\"auto\"")
}

/// The ancestor's `ds_zero2_no_offload.json`.
fn zero2() -> String {
    let gather = ",\n    \"stage3_gather_16bit_weights_on_model_save\": true";
    zero3()
        .replace("\"stage\": 3", "\"stage\": 2")
        .replace(gather, "")
}

fn parse(text: &str) -> Result<DeepSpeedConfig> {
    DeepSpeedConfig::from_json(text, Path::new("ds.json"))
}

/// An object that is `value` under a dotted key, and has the types that sections cannot do without.
fn under(key: &str, value: Value) -> Value {
    let nest = |value, part: &str| json!({ part: value });
    let mut top = key.rsplit('.').fold(value, nest);
    for (section, kind) in [("scheduler", "WarmupDecayLR"), ("optimizer", "Adam")] {
        if let Some(Value::Object(section)) = top.get_mut(section) {
            section.entry("type").or_insert(json!(kind));
        }
    }
    top
}

fn parse_under(key: &str, value: Value) -> Result<DeepSpeedConfig> {
    parse(&under(key, value).to_string())
}

/// The faults that a file has, one per line, without the line that names the file.
fn faults(text: &str) -> Vec<String> {
    let error = parse(text).unwrap_err();
    assert!(error.is_request());
    let message = error.to_string();
    let mut lines = message.lines();
    assert_eq!(lines.next(), Some("ds.json:"));
    lines.map(|line| line.trim().to_string()).collect()
}

#[test]
fn the_files_of_the_ancestor_are_read() {
    for (text, stage, offload) in [
        (zero2(), 2, false),
        (zero3(), 3, false),
        (ZERO3_OFFLOAD.to_string(), 3, true),
    ] {
        let config = parse(&text).unwrap();
        let expected = DeepSpeedConfig {
            zero: Zero {
                stage,
                offload_param: offload,
                offload_optimizer: offload,
            },
            fp16: Some(LossScaleSettings {
                loss_scale_window: 100,
                ..LossScaleSettings::default()
            }),
            gradient_clipping: Some(1.0),
            notes: config.notes.clone(),
            ..DeepSpeedConfig::default()
        };
        assert_eq!(config, expected);
    }
}

#[test]
fn what_does_nothing_is_noted() {
    let expected = [
        "`train_batch_size`: set by the command line",
        "`train_micro_batch_size_per_gpu`: set by the command line",
        "`zero_optimization.offload_param.device`: \"auto\" means no offloading",
        "`zero_optimization.offload_optimizer.device`: \"auto\" means no offloading",
        "`scheduler.params.warmup_type`: DeepSpeed does not know \"cosine\" and falls back to \"log\"",
        "`steps_per_print`: has no effect here",
        "`prescale_gradients`: has no effect here",
        "`wall_clock_breakdown`: has no effect here",
    ];
    assert_eq!(parse(&zero2()).unwrap().notes, expected);
    let gather = "zero_optimization.stage3_gather_16bit_weights_on_model_save";
    assert!(parse(&zero3()).unwrap().notes[4].contains(gather));
}

#[test]
fn explicit_values_stay() {
    let text = r#"{
        "fp16": {"enabled": true, "loss_scale": 128, "initial_scale_power": 8, "hysteresis": 1,
            "min_loss_scale": 0.5},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": 2e-4,
            "warmup_num_steps": 1e2, "warmup_type": "linear", "last_batch_iteration": -1}},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-6,
            "weight_decay": 0}}
    }"#;
    let expected = DeepSpeedConfig {
        fp16: Some(LossScaleSettings {
            fixed: Some(128.0),
            initial_scale_power: 8,
            hysteresis: 1,
            min_loss_scale: 0.5,
            ..LossScaleSettings::default()
        }),
        gradient_clipping: None,
        // The scheduler overrules the optimizer.
        learning_rate: Some(2e-4),
        scheduler: Scheduler {
            decay: Decay::None,
            warmup: Warmup::Linear,
            min_learning_rate: Some(0.0),
            warmup_steps: Some(100),
            total_steps: None,
        },
        optimizer: AdamWSettings {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-6,
            weight_decay: 0.0,
        },
        ..DeepSpeedConfig::default()
    };
    assert_eq!(parse(text).unwrap(), expected);
    let config = parse_under("scheduler.params.total_num_steps", json!(500)).unwrap();
    assert_eq!(config.scheduler.total_steps, Some(500));
    let config = parse_under("optimizer.params.lr", json!(1e-3)).unwrap();
    assert_eq!(config.learning_rate, Some(1e-3));
}

#[test]
fn the_type_that_is_computed_in() {
    let config = parse(r#"{"bf16": {"enabled": true}, "fp16": {"loss_scale": 128}}"#).unwrap();
    assert!(config.bf16);
    assert_eq!(config.fp16, None);
    assert_eq!(parse("{}").unwrap(), DeepSpeedConfig::default());
}

#[test]
fn clipping_is_left_to_the_command_line_unless_given() {
    for value in [json!("auto"), json!(null)] {
        let config = parse_under("gradient_clipping", value).unwrap();
        assert_eq!(config.gradient_clipping, None);
    }
    assert_eq!(parse("{}").unwrap().gradient_clipping, None);
    let off = parse_under("gradient_clipping", json!(0)).unwrap();
    assert_eq!(off.gradient_clipping, Some(0.0));
}

#[test]
fn every_key_is_checked() {
    let wrong = [
        ("train_batch_size", json!(0), "a whole number from 1"),
        ("train_micro_batch_size_per_gpu", json!(1.5), "from 1"),
        ("gradient_accumulation_steps", json!("four"), "\"auto\""),
        ("steps_per_print", json!(-1), "from 1"),
        ("zero_optimization", json!(true), "an object"),
        ("zero_optimization.stage", json!(7), "0, 1, 2 or 3"),
        ("zero_optimization.offload_param", json!("cpu"), "an object"),
        (
            "zero_optimization.offload_param.device",
            json!("nvme"),
            "\"cpu\"",
        ),
        (
            "zero_optimization.offload_param.pin_memory",
            json!(1),
            "true",
        ),
        (
            "zero_optimization.offload_param.buffer_count",
            json!(-1),
            "from 0",
        ),
        (
            "zero_optimization.offload_optimizer.device",
            json!("gpu"),
            "\"none\"",
        ),
        (
            "zero_optimization.offload_optimizer.nvme_path",
            json!(1),
            "a string",
        ),
        (
            "zero_optimization.offload_optimizer.ratio",
            json!("all"),
            "from 0",
        ),
        (
            "zero_optimization.overlap_comm",
            json!("yes"),
            "true or false",
        ),
        ("zero_optimization.contiguous_gradients", json!(1), "true"),
        ("zero_optimization.reduce_scatter", json!(1), "true"),
        (
            "zero_optimization.reduce_bucket_size",
            json!(-5e8),
            "from 0",
        ),
        (
            "zero_optimization.allgather_bucket_size",
            json!(0.5),
            "from 0",
        ),
        ("zero_optimization.allgather_partitions", json!(2), "true"),
        ("zero_optimization.sub_group_size", json!([]), "from 0"),
        (
            "zero_optimization.stage3_prefetch_bucket_size",
            json!({}),
            "from 0",
        ),
        (
            "zero_optimization.stage3_gather_16bit_weights_on_model_save",
            json!("true"),
            "true or false",
        ),
        ("bf16", json!(true), "an object"),
        ("bf16.enabled", json!("auto"), "true or false"),
        ("fp16", json!([]), "an object"),
        ("fp16.enabled", json!(1), "true or false"),
        ("fp16.loss_scale", json!(-1), "0 (for a dynamic scale)"),
        ("fp16.loss_scale_window", json!(0), "from 1"),
        ("fp16.initial_scale_power", json!(200), "from 0 to 126"),
        ("fp16.hysteresis", json!(0), "from 1"),
        ("fp16.min_loss_scale", json!(0), "above 0"),
        ("fp16.auto_cast", json!("no"), "true or false"),
        (
            "fp16.consecutive_hysteresis",
            json!(true),
            "false, as nothing",
        ),
        ("fp16.fp16_master_weights_and_grads", json!(true), "false"),
        (
            "gradient_clipping",
            json!(-1.0),
            "a number from 0 or \"auto\"",
        ),
        ("prescale_gradients", json!(1), "true or false"),
        ("gradient_predivide_factor", json!(0), "above 0"),
        ("wall_clock_breakdown", json!("on"), "true or false"),
        ("tensorboard", json!(true), "an object"),
        ("scheduler", json!("WarmupLR"), "an object"),
        (
            "scheduler.type",
            json!("OneCycle"),
            "\"WarmupDecayLR\" or \"WarmupLR\"",
        ),
        ("scheduler.params.last_batch_iteration", json!(0), "-1"),
        (
            "scheduler.params.total_num_steps",
            json!(0),
            "from 1 or \"auto\"",
        ),
        ("scheduler.params.warmup_min_lr", json!(-1e-5), "from 0"),
        ("scheduler.params.warmup_max_lr", json!("high"), "from 0"),
        ("scheduler.params.warmup_num_steps", json!(2.5), "from 0"),
        ("scheduler.params.warmup_type", json!(1), "a string"),
        ("optimizer", json!([]), "an object"),
        ("optimizer.type", json!("Lion"), "\"AdamW\" or \"Adam\""),
        ("optimizer.params", json!(1), "an object"),
        ("optimizer.params.lr", json!(-1), "from 0 or \"auto\""),
        ("optimizer.params.betas", json!([0.9, 1.0]), "two numbers"),
        ("optimizer.params.eps", json!("small"), "from 0"),
        ("optimizer.params.weight_decay", json!(-0.1), "from 0"),
        ("optimizer.params.torch_adam", json!(0), "true or false"),
        (
            "optimizer.params.adam_w_mode",
            json!(false),
            "true, as nothing",
        ),
    ];
    for (key, value, expected) in wrong {
        let found = faults(&under(key, value.clone()).to_string());
        let start = format!("key `{key}`: found {value}, expected ");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&start), "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn names_that_must_be_there() {
    let found = faults(r#"{"scheduler": {}, "optimizer": {"params": {}}}"#);
    let expected = [
        "key `scheduler.type`: found nothing, expected \"WarmupDecayLR\" or \"WarmupLR\"",
        "key `optimizer.type`: found nothing, expected \"AdamW\" or \"Adam\"",
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_faults_are_told_at_once() {
    let found = faults(
        r#"{
                "gradient_cliping": 1.0,
                "zero_optimization": {"stage": 7, "Stage": 2, "offload_params": {"device": "cpu"}},
                "bf16": {"enabled": true},
                "fp16": {"enabled": true, "loss_scaling": 0},
                "optimizer": {"type": "SGD", "params": {"lr": "fast", "momentum": 0.9}},
                "hybrid_engine": {}
            }"#,
    );
    let expected = [
        "key `zero_optimization.stage`: found 7, expected 0, 1, 2 or 3",
        "key `zero_optimization.Stage` is unknown; did you mean `stage`?",
        "key `zero_optimization.offload_params` is unknown; did you mean `offload_param`?",
        "key `fp16.loss_scaling` is unknown; did you mean `loss_scale`?",
        "key `bf16.enabled`: found true, expected false beside an enabled fp16",
        "key `optimizer.type`: found \"SGD\", expected \"AdamW\" or \"Adam\"",
        "key `optimizer.params.lr`: found \"fast\", expected a number from 0 or \"auto\"",
        "key `optimizer.params.momentum` is unknown; remove it",
        "key `gradient_cliping` is unknown; did you mean `gradient_clipping`?",
        "key `hybrid_engine` is unknown; remove it",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_not_an_object_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ds.json");
    let message = |path| DeepSpeedConfig::read(path).unwrap_err().to_string();
    assert!(message(&path).contains("ds.json"));
    for text in ["", "[1]", "{\"fp16\": }"] {
        std::fs::write(&path, text).unwrap();
        assert!(message(&path).contains("line 1"), "{}", message(&path));
    }
    std::fs::write(&path, ZERO3_OFFLOAD).unwrap();
    assert!(DeepSpeedConfig::read(&path).unwrap().zero.offload_param);
}

//! The settings of a DeepSpeed configuration file (`--ds_file`).
//!
//! A key either acts, or is accepted and noted as without effect here, or is refused by name; all faults of
//! a file are told at once. What the command line of the Python ancestor overrides in every file (batch
//! sizes, accumulation) is checked and noted, and `"auto"` means that the command line decides.

mod section;

use std::path::Path;

use glmtune_model::files::{self, Limit};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use section::{COUNT, FLAG, Findings, Form, NUMBER, OBJECT, POSITIVE, SIZE, Section, TEXT};

const NO_EFFECT: &str = "has no effect here";
const COMMAND_LINE: &str = "set by the command line";

/// A configuration file. Where a setting is an [`Option`], `None` leaves it to the command line: the file
/// says `"auto"` or, unless told otherwise, nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeepSpeedConfig {
    /// `zero_optimization.stage`: what several devices share out: nothing (0), the optimizer's state (1),
    /// gradients too (2), weights too (3).
    pub zero_stage: u8,
    /// `zero_optimization.offload_param`: the weights are kept in the host's memory.
    pub offload_param: bool,
    /// `zero_optimization.offload_optimizer`: the optimizer's state is kept in the host's memory.
    pub offload_optimizer: bool,
    /// `bf16.enabled`; never together with `fp16.enabled`.
    pub bf16: bool,
    /// `fp16`.
    pub fp16: Fp16,
    /// `gradient_clipping`: the greatest global norm of the gradients; 0 for no clipping. A file without
    /// this key leaves it to the command line too: the ancestor clips whatever the file says.
    pub gradient_clipping: Option<f64>,
    /// `scheduler`.
    pub scheduler: Scheduler,
    /// `optimizer`.
    pub optimizer: Optimizer,
    /// One line for each key that is accepted and does nothing here, or not what it says.
    pub notes: Vec<String>,
}

/// Training in half precision, with its loss scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Fp16 {
    /// Whether it is used at all.
    pub enabled: bool,
    /// A fixed scale of the loss; `None` (0 in the file) for a dynamic one.
    pub loss_scale: Option<f64>,
    /// Steps without overflow after which a dynamic scale is doubled.
    pub loss_scale_window: u64,
    /// A dynamic scale starts at 2 to this power.
    pub initial_scale_power: u32,
    /// Overflows after which a dynamic scale is halved.
    pub hysteresis: u64,
    /// The least value of a dynamic scale.
    pub min_loss_scale: f64,
}

impl Default for Fp16 {
    fn default() -> Self {
        Self {
            enabled: false,
            loss_scale: None,
            loss_scale_window: 1000,
            initial_scale_power: 16,
            hysteresis: 2,
            min_loss_scale: 1.0,
        }
    }
}

/// How the learning rate moves after its warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchedulerKind {
    /// It falls to zero in a straight line (`WarmupDecayLR`).
    #[default]
    WarmupDecay,
    /// It stays (`WarmupLR`).
    Warmup,
}

/// How the learning rate rises during its warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WarmupType {
    /// With the logarithm of the step.
    #[default]
    Log,
    /// In a straight line.
    Linear,
}

/// The schedule of the learning rate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scheduler {
    /// `type`.
    pub kind: SchedulerKind,
    /// Rate of the first step.
    pub warmup_min_lr: Option<f64>,
    /// Rate at the end of the warmup. DeepSpeed's schedulers overrule the optimizer's `lr`.
    pub warmup_max_lr: Option<f64>,
    /// Optimizer steps of the warmup.
    pub warmup_num_steps: Option<u64>,
    /// Optimizer steps until the rate is zero; of no use to [`SchedulerKind::Warmup`].
    pub total_num_steps: Option<u64>,
    /// `warmup_type`.
    pub warmup_type: WarmupType,
}

/// AdamW: the only optimizer, whichever of its names the file uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Optimizer {
    /// Learning rate.
    pub lr: Option<f64>,
    /// Decay rates of the two moments.
    pub betas: Option<(f64, f64)>,
    /// Added to the root of the second moment.
    pub eps: Option<f64>,
    /// Decoupled weight decay.
    pub weight_decay: Option<f64>,
}

impl DeepSpeedConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a JSON object, or if keys of it are unknown, wrong or not
    /// supported: all of them are named together.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path, Limit::SETTINGS)?;
        Self::from_json(&text, path)
    }

    /// Parses the text of a configuration file; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| glmtune_model::Error::json(path, error))?;
        let mut findings = Findings::default();
        let mut config = read_top(Section::top(&map, &mut findings));
        if !findings.faults.is_empty() {
            let faults = findings.faults.join("\n  ");
            return Err(Error::Request(format!("{}:\n  {faults}", path.display())));
        }
        config.notes = findings.notes;
        Ok(config)
    }
}

fn read_top(mut top: Section<'_>) -> DeepSpeedConfig {
    let mut config = DeepSpeedConfig::default();
    let batch = [
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
    ];
    top.inert(&batch, &COUNT, COMMAND_LINE);
    top.section("zero_optimization", |zero| read_zero(zero, &mut config));
    config.bf16 = top
        .section("bf16", |bf16| bf16.read("enabled", &FLAG))
        .flatten()
        .unwrap_or(false);
    config.fp16 = top.section("fp16", read_fp16).unwrap_or_default();
    if config.bf16 && config.fp16.enabled {
        top.wrong("bf16.enabled", true, "false beside an enabled fp16");
    }
    config.gradient_clipping = top.read_or_auto("gradient_clipping", &NUMBER);
    config.scheduler = top.section("scheduler", read_scheduler).unwrap_or_default();
    config.optimizer = top.section("optimizer", read_optimizer).unwrap_or_default();
    read_inert(&mut top);
    top.finish();
    config
}

/// Reporting, and how gradients travel: neither changes what is computed.
fn read_inert(top: &mut Section<'_>) {
    let flags = [
        "prescale_gradients",
        "wall_clock_breakdown",
        "memory_breakdown",
        "dump_state",
        "disable_allgather",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
    ];
    let sections = [
        "activation_checkpointing",
        "aio",
        "comms_logger",
        "csv_monitor",
        "flops_profiler",
        "tensorboard",
    ];
    top.inert(&["steps_per_print"], &COUNT, NO_EFFECT);
    top.inert(&["gradient_predivide_factor"], &POSITIVE, NO_EFFECT);
    top.inert(&flags, &FLAG, NO_EFFECT);
    top.inert(&sections, &OBJECT, NO_EFFECT);
}

const STAGE: Form<u8> = Form {
    expected: "0, 1, 2 or 3",
    read: |value| (SIZE.read)(value).and_then(|stage| (stage <= 3).then_some(stage as u8)),
};

fn read_zero(zero: &mut Section<'_>, config: &mut DeepSpeedConfig) {
    config.zero_stage = zero.read("stage", &STAGE).unwrap_or(0);
    config.offload_param = read_offload(zero, "offload_param");
    config.offload_optimizer = read_offload(zero, "offload_optimizer");
    let gather = [
        "stage3_gather_16bit_weights_on_model_save",
        "stage3_gather_fp16_weights_on_model_save",
    ];
    let flags = [
        "allgather_partitions",
        "contiguous_gradients",
        "ignore_unused_parameters",
        "load_from_fp32_weights",
        "memory_efficient_linear",
        "overlap_comm",
        "reduce_scatter",
        "round_robin_gradients",
        "stage3_use_all_reduce_for_fetch_params",
        "use_multi_rank_bucket_allreduce",
    ];
    let sizes = [
        "allgather_bucket_size",
        "reduce_bucket_size",
        "stage3_max_live_parameters",
        "stage3_max_reuse_distance",
        "stage3_model_persistence_threshold",
        "stage3_module_granularity_threshold",
        "stage3_param_persistence_threshold",
        "stage3_prefetch_bucket_size",
        "sub_group_size",
    ];
    zero.inert(
        &gather,
        &FLAG,
        "has no effect here, where weights are always saved whole",
    );
    zero.inert(&flags, &FLAG, NO_EFFECT);
    zero.inert(&sizes, &SIZE, NO_EFFECT);
}

/// Where something is kept.
enum Device {
    Cpu,
    Accelerator,
    Auto,
}

const DEVICE: Form<Device> = Form {
    expected: "\"cpu\", \"none\" or \"auto\" (nothing is offloaded to disks)",
    read: |value| match value.as_str()? {
        "cpu" => Some(Device::Cpu),
        "none" => Some(Device::Accelerator),
        "auto" => Some(Device::Auto),
        _ => None,
    },
};

/// Whether `offload_param` or `offload_optimizer` asks for the host's memory.
fn read_offload(zero: &mut Section<'_>, key: &'static str) -> bool {
    let device = zero.section(key, |offload| {
        let device = offload.read("device", &DEVICE);
        if let Some(Device::Auto) = device {
            // The ancestor never replaces this "auto" by anything.
            offload.note("device", "\"auto\" means no offloading");
        }
        let flags = ["pin_memory", "pipeline_read", "pipeline_write", "fast_init"];
        let sizes = ["buffer_count", "buffer_size", "max_in_cpu"];
        offload.inert(&flags, &FLAG, NO_EFFECT);
        offload.inert(&sizes, &SIZE, NO_EFFECT);
        offload.inert(&["nvme_path"], &TEXT, NO_EFFECT);
        offload.inert(&["ratio"], &NUMBER, NO_EFFECT);
        device
    });
    matches!(device, Some(Some(Device::Cpu)))
}

/// Scales are float32 on the device.
const SCALE_POWER: Form<u32> = Form {
    expected: "a whole number from 0 to 126",
    read: |value| (SIZE.read)(value).and_then(|power| (power <= 126).then_some(power as u32)),
};

const SCALE: Form<f64> = Form {
    expected: "0 (for a dynamic scale) or a number up to 1e38",
    read: |value| (NUMBER.read)(value).filter(|&scale| scale <= 1e38),
};

fn read_fp16(fp16: &mut Section<'_>) -> Fp16 {
    let default = Fp16::default();
    fp16.inert(&["auto_cast"], &FLAG, NO_EFFECT);
    fp16.only("consecutive_hysteresis", false);
    // Trainable weights have float32 masters.
    fp16.only("fp16_master_weights_and_grads", false);
    Fp16 {
        enabled: fp16.read("enabled", &FLAG).unwrap_or(default.enabled),
        loss_scale: fp16.read("loss_scale", &SCALE).filter(|&scale| scale > 0.0),
        loss_scale_window: fp16
            .read("loss_scale_window", &COUNT)
            .unwrap_or(default.loss_scale_window),
        initial_scale_power: fp16
            .read("initial_scale_power", &SCALE_POWER)
            .unwrap_or(default.initial_scale_power),
        hysteresis: fp16
            .read("hysteresis", &COUNT)
            .unwrap_or(default.hysteresis),
        min_loss_scale: fp16
            .read("min_loss_scale", &POSITIVE)
            .unwrap_or(default.min_loss_scale),
    }
}

const SCHEDULER: Form<SchedulerKind> = Form {
    expected: "\"WarmupDecayLR\" or \"WarmupLR\"",
    read: |value| match value.as_str()? {
        "WarmupDecayLR" => Some(SchedulerKind::WarmupDecay),
        "WarmupLR" => Some(SchedulerKind::Warmup),
        _ => None,
    },
};

const BEFORE_FIRST: Form<()> = Form {
    expected: "-1 (a run is continued by `--resume`)",
    read: |value| (value.as_f64()? == -1.0).then_some(()),
};

fn read_scheduler(section: &mut Section<'_>) -> Scheduler {
    let kind = section.require("type", &SCHEDULER).unwrap_or_default();
    let params = section.section("params", |params| {
        params.read("last_batch_iteration", &BEFORE_FIRST);
        let total_num_steps = params.read_or_auto("total_num_steps", &COUNT);
        if kind == SchedulerKind::Warmup && params.has("total_num_steps") {
            params.note("total_num_steps", "has no effect on WarmupLR");
        }
        Scheduler {
            kind,
            warmup_min_lr: params.read_or_auto("warmup_min_lr", &NUMBER),
            warmup_max_lr: params.read_or_auto("warmup_max_lr", &NUMBER),
            warmup_num_steps: params.read_or_auto("warmup_num_steps", &SIZE),
            total_num_steps,
            warmup_type: read_warmup_type(params),
        }
    });
    params.unwrap_or(Scheduler {
        kind,
        ..Scheduler::default()
    })
}

fn read_warmup_type(params: &mut Section<'_>) -> WarmupType {
    match params.read("warmup_type", &TEXT).as_deref() {
        Some("linear") => WarmupType::Linear,
        Some("log") | None => WarmupType::Log,
        Some(other) => {
            let note = format!("DeepSpeed knows no \"{other}\" and falls back to \"log\"");
            params.note("warmup_type", &note);
            WarmupType::Log
        }
    }
}

/// Whether the optimizer is called Adam, which leaves the kind of its weight decay open.
const OPTIMIZER: Form<bool> = Form {
    expected: "\"AdamW\" or \"Adam\"",
    read: |value| match value.as_str()?.to_ascii_lowercase().as_str() {
        "adam" => Some(true),
        "adamw" => Some(false),
        _ => None,
    },
};

const BETAS: Form<(f64, f64)> = Form {
    expected: "two numbers from 0 to below 1",
    read: |value| {
        let beta = |value: &Value| value.as_f64().filter(|beta| (0.0..1.0).contains(beta));
        match value.as_array()?.as_slice() {
            [first, second] => Some((beta(first)?, beta(second)?)),
            _ => None,
        }
    },
};

fn read_optimizer(section: &mut Section<'_>) -> Optimizer {
    let adam = section.require("type", &OPTIMIZER).unwrap_or(false);
    if adam {
        section.note("type", "Adam means AdamW, as it does to DeepSpeed");
    }
    section.inert(&["legacy_fusion"], &FLAG, NO_EFFECT);
    let params = section.section("params", |params| {
        params.inert(&["torch_adam"], &FLAG, NO_EFFECT);
        if adam {
            // With false, Adam would add its weight decay to the gradients.
            params.only("adam_w_mode", true);
        } else {
            params.inert(&["adam_w_mode"], &FLAG, "has no effect on AdamW");
        }
        Optimizer {
            lr: params.read_or_auto("lr", &NUMBER),
            betas: params.read_or_auto("betas", &BETAS),
            eps: params.read_or_auto("eps", &NUMBER),
            weight_decay: params.read_or_auto("weight_decay", &NUMBER),
        }
    });
    params.unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

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

    /// The faults that a text has, one per line, without the line that names the file.
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
                zero_stage: stage,
                offload_param: offload,
                offload_optimizer: offload,
                fp16: Fp16 {
                    enabled: true,
                    loss_scale_window: 100,
                    ..Fp16::default()
                },
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
            "`scheduler.params.warmup_type`: DeepSpeed knows no \"cosine\" and falls back to \"log\"",
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
            "bf16": {"enabled": true},
            "fp16": {"loss_scale": 128, "initial_scale_power": 8, "hysteresis": 1, "min_loss_scale": 0.5},
            "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": 2e-4,
                "warmup_num_steps": 1e2, "warmup_type": "linear", "last_batch_iteration": -1}},
            "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-6,
                "weight_decay": 0}}
        }"#;
        let expected = DeepSpeedConfig {
            bf16: true,
            fp16: Fp16 {
                loss_scale: Some(128.0),
                initial_scale_power: 8,
                hysteresis: 1,
                min_loss_scale: 0.5,
                ..Fp16::default()
            },
            gradient_clipping: None,
            scheduler: Scheduler {
                kind: SchedulerKind::Warmup,
                warmup_min_lr: Some(0.0),
                warmup_max_lr: Some(2e-4),
                warmup_num_steps: Some(100),
                total_num_steps: None,
                warmup_type: WarmupType::Linear,
            },
            optimizer: Optimizer {
                lr: Some(1e-3),
                betas: Some((0.9, 0.99)),
                eps: Some(1e-6),
                weight_decay: Some(0.0),
            },
            ..DeepSpeedConfig::default()
        };
        assert_eq!(parse(text).unwrap(), expected);
        let config = parse_under("scheduler.params.total_num_steps", json!(500)).unwrap();
        assert_eq!(config.scheduler.total_num_steps, Some(500));
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
                "a text",
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
            ("scheduler.params.warmup_type", json!(1), "a text"),
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
            let start = format!("`{key}`: found {value}, expected ");
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&start), "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn names_that_must_be_there() {
        let found = faults(r#"{"scheduler": {}, "optimizer": {"params": {}}}"#);
        let expected = [
            "`scheduler.type`: found nothing, expected \"WarmupDecayLR\" or \"WarmupLR\"",
            "`optimizer.type`: found nothing, expected \"AdamW\" or \"Adam\"",
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
            "`zero_optimization.stage`: found 7, expected 0, 1, 2 or 3",
            "`zero_optimization.Stage`: unknown key; did you mean `stage`?",
            "`zero_optimization.offload_params`: unknown key; did you mean `offload_param`?",
            "`fp16.loss_scaling`: unknown key; did you mean `loss_scale`?",
            "`bf16.enabled`: found true, expected false beside an enabled fp16",
            "`optimizer.type`: found \"SGD\", expected \"AdamW\" or \"Adam\"",
            "`optimizer.params.lr`: found \"fast\", expected a number from 0 or \"auto\"",
            "`optimizer.params.momentum`: unknown key; remove it",
            "`gradient_cliping`: unknown key; did you mean `gradient_clipping`?",
            "`hybrid_engine`: unknown key; remove it",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_is_no_object_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ds.json");
        let message = |path| DeepSpeedConfig::read(path).unwrap_err().to_string();
        assert!(message(&path).contains("ds.json"));
        for text in ["", "[1]", "{\"fp16\": }"] {
            std::fs::write(&path, text).unwrap();
            assert!(message(&path).contains("line 1"), "{}", message(&path));
        }
        std::fs::write(&path, ZERO3_OFFLOAD).unwrap();
        assert!(DeepSpeedConfig::read(&path).unwrap().offload_param);
    }
}

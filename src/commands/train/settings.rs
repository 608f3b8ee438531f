//! Flags and a DeepSpeed file become the settings of a training.

use burn::tensor::DType;
use glmtune_model::rows::LayoutLimits;
use glmtune_model::tokenizer::Mode;
use glmtune_training::deepspeed::{DeepSpeedConfig, SchedulerKind, WarmupType};
use glmtune_training::optim::AdamWSettings;
use glmtune_training::precision::LossScaleSettings;
use glmtune_training::schedule::{Decay, Warmup};
use glmtune_training::settings::{Method, OnNan, TrainSettings};

use crate::cli::{NanPolicy, TrainArgs, TrainType};
use crate::commands::session::type_name;

/// The default of `--learning_rate`, as the Python ancestor's.
const LEARNING_RATE: f64 = 1e-3;
/// The defaults of the methods' flags, as the Python ancestor's.
const LORA_DIM: usize = 8;
const LORA_ALPHA: f64 = 30.0;
const LORA_DROPOUT: f64 = 0.1;
const LORA_MODULE_NAME: &str = "query_key_value";
const PRE_SEQ_LEN: usize = 16;
/// The default of `--max_grad_norm`.
const MAX_GRAD_NORM: f64 = 1.0;

/// With what a training computes.
#[derive(Debug, Clone, Copy)]
pub struct Computing {
    /// The type of frozen weights and activations.
    pub dtype: DType,
    /// Devices of each process.
    pub devices: usize,
    /// Processes.
    pub ranks: usize,
}

/// The settings of a training: a flag decides, then the DeepSpeed file, then the default.
pub fn settings(
    args: &TrainArgs,
    file: Option<&DeepSpeedConfig>,
    mode: Mode,
    computing: Computing,
) -> TrainSettings {
    let Computing {
        dtype,
        devices,
        ranks,
    } = computing;
    let defaults = AdamWSettings::default();
    let none = DeepSpeedConfig::default();
    let file = file.unwrap_or(&none);
    let (optimizer, scheduler) = (&file.optimizer, &file.scheduler);
    let clipping = args.max_grad_norm.or(file.gradient_clipping);
    let method = method(args);
    let offload_param = args.offload_param || file.offload_param;
    let trains_hosted = offload_param && !method.is_adapter();
    TrainSettings {
        mode,
        method,
        limits: LayoutLimits::new(mode, args.layout.max_len, args.layout.max_src_len),
        is_skip: args.layout.is_skip,
        per_device_train_batch_size: args.per_device_train_batch_size,
        gradient_accumulation_steps: args.gradient_accumulation_steps,
        data_parallel: match args.pipeline_stages {
            1 => ranks * devices,
            _ => ranks,
        },
        pipeline_stages: args.pipeline_stages,
        num_train_epochs: args.num_train_epochs,
        max_steps: args.max_steps,
        learning_rate: args
            .learning_rate
            // DeepSpeed's schedulers overrule the optimizer's own rate.
            .or(scheduler.warmup_max_lr)
            .or(optimizer.lr)
            .unwrap_or(LEARNING_RATE),
        min_learning_rate: args.min_learning_rate.or(scheduler.warmup_min_lr),
        warmup_ratio: args.warmup_ratio,
        warmup_steps: args.warmup_steps.or(scheduler.warmup_num_steps),
        warmup: match scheduler.warmup_type {
            WarmupType::Log => Warmup::Log,
            WarmupType::Linear => Warmup::Linear,
        },
        decay: match scheduler.kind {
            SchedulerKind::WarmupDecay => Decay::Linear,
            SchedulerKind::Warmup => Decay::None,
        },
        schedule_steps: scheduler.total_num_steps,
        optimizer: AdamWSettings {
            beta1: args
                .adam_beta1
                .or(optimizer.betas.map(|betas| betas.0))
                .unwrap_or(defaults.beta1),
            beta2: args
                .adam_beta2
                .or(optimizer.betas.map(|betas| betas.1))
                .unwrap_or(defaults.beta2),
            epsilon: args
                .adam_epsilon
                .or(optimizer.eps)
                .unwrap_or(defaults.epsilon),
            weight_decay: args
                .weight_decay
                .or(optimizer.weight_decay)
                .unwrap_or(defaults.weight_decay),
        },
        // 0 is no clipping, as in DeepSpeed.
        max_grad_norm: Some(clipping.unwrap_or(MAX_GRAD_NORM)).filter(|&norm| norm != 0.0),
        loss_scale: (dtype == DType::F16).then(|| loss_scale(file)),
        seed: args.seed,
        shuffle: !args.no_shuffle,
        longest_first: args.longest_first,
        // Several processes share out the state that is in their hosts' memory, and weights that live there
        // are updated there.
        offload_optimizer: args.offload_optimizer
            || file.offload_optimizer
            || ranks > 1
            || trains_hosted,
        offload_param,
        gradient_checkpointing: args.gradient_checkpointing,
        dtype: type_name(dtype),
        on_nan: match args.on_nan {
            NanPolicy::Skip => OnNan::Skip,
            NanPolicy::Stop => OnNan::Stop,
        },
        show_loss_step: args.show_loss_step,
        save_model_step: args.save_model_step,
        save_total_limit: args.save_total_limit,
    }
}

fn method(args: &TrainArgs) -> Method {
    match args.train_type {
        TrainType::Freeze => Method::Freeze {
            freeze_module_name: parts(&args.freeze_module_name),
        },
        TrainType::Ptuning => Method::Ptuning {
            pre_seq_len: args.pre_seq_len.unwrap_or(PRE_SEQ_LEN),
            prefix_projection: args.prefix_projection.unwrap_or(true),
            prefix_dropout: args.prefix_dropout,
        },
        TrainType::Lora => Method::Lora {
            lora_dim: args.lora_dim.unwrap_or(LORA_DIM),
            lora_alpha: args.lora_alpha.unwrap_or(LORA_ALPHA),
            lora_dropout: args.lora_dropout.unwrap_or(LORA_DROPOUT),
            lora_module_name: match args.lora_module_name.is_empty() {
                true => vec![LORA_MODULE_NAME.to_string()],
                false => parts(&args.lora_module_name),
            },
        },
        TrainType::All => Method::All,
    }
}

/// A trailing comma names nothing; an empty part would match everything.
fn parts(names: &[String]) -> Vec<String> {
    let names = names.iter().map(|name| name.trim());
    let named = names.filter(|name| !name.is_empty());
    named.map(str::to_string).collect()
}

fn loss_scale(file: &DeepSpeedConfig) -> LossScaleSettings {
    let fp16 = &file.fp16;
    if !fp16.enabled {
        return LossScaleSettings::default();
    }
    LossScaleSettings {
        fixed: fp16.loss_scale,
        initial_scale_power: fp16.initial_scale_power,
        loss_scale_window: fp16.loss_scale_window,
        hysteresis: fp16.hysteresis,
        min_loss_scale: fp16.min_loss_scale,
    }
}

/// What a DeepSpeed file asks for and does not get, one line each.
pub fn unmet(file: &DeepSpeedConfig, computing: Computing) -> Vec<String> {
    let Computing {
        dtype,
        devices,
        ranks,
    } = computing;
    let mut lines = Vec::new();
    let mut say = |unmet: bool, line: String| {
        if unmet {
            lines.push(line);
        }
    };
    say(
        file.zero_stage > 0 && devices * ranks <= 1,
        format!(
            "zero_optimization.stage {}: nothing to share out on one device",
            file.zero_stage
        ),
    );
    let computing = type_name(dtype);
    say(
        file.fp16.enabled && dtype != DType::F16,
        format!(
            "fp16.enabled: computing in {computing}, which needs no loss scale; --dtype f16 asks for it"
        ),
    );
    say(
        file.bf16 && dtype != DType::BF16,
        format!("bf16.enabled: computing in {computing}"),
    );
    lines.extend(file.notes.iter().cloned());
    lines
}

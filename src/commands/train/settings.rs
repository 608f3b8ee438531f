//! Flags and a DeepSpeed file become the settings of a training.

use glmtune_model::FloatType;
use glmtune_model::rows::LayoutLimits;
use glmtune_model::tokenizer::Mode;
use glmtune_training::deepspeed::DeepSpeedConfig;
use glmtune_training::optim::AdamWSettings;
use glmtune_training::settings::{OnNan, TrainSettings};

use super::validation_settings;
use crate::cli::{NanPolicy, TrainArgs};
use crate::commands::error::Result;

/// The settings of a training: a flag decides, then the DeepSpeed file, then the default. What follows from the
/// devices is left to [`TrainSettings::resolved`].
///
/// # Errors
/// If a value cannot be of its setting.
pub fn settings(
    args: &TrainArgs,
    file: Option<&DeepSpeedConfig>,
    mode: Mode,
    dtype: FloatType,
) -> Result<TrainSettings> {
    let defaults = TrainSettings::new(mode, args.method.method()?);
    let none = DeepSpeedConfig::default();
    let file = file.unwrap_or(&none);
    let (optimizer, scheduler) = (&file.optimizer, &file.scheduler);
    let clipping = args.max_grad_norm.or(file.gradient_clipping);
    Ok(TrainSettings {
        limits: LayoutLimits::new(mode, args.layout.max_len, args.layout.max_src_len),
        is_skip: args.layout.is_skip,
        per_device_train_batch_size: args.per_device_train_batch_size,
        gradient_accumulation_steps: args.gradient_accumulation_steps,
        pipeline_stages: args.pipeline_stages,
        num_train_epochs: args.num_train_epochs,
        max_steps: args.max_steps,
        learning_rate: args
            .learning_rate
            .or(file.learning_rate)
            .unwrap_or(defaults.learning_rate),
        min_learning_rate: args.min_learning_rate.or(scheduler.min_learning_rate),
        warmup_ratio: args.warmup_ratio,
        warmup_steps: args.warmup_steps.or(scheduler.warmup_steps),
        warmup: scheduler.warmup,
        decay: scheduler.decay,
        schedule_steps: scheduler.total_steps,
        optimizer: AdamWSettings {
            beta1: args.adam_beta1.unwrap_or(optimizer.beta1),
            beta2: args.adam_beta2.unwrap_or(optimizer.beta2),
            epsilon: args.adam_epsilon.unwrap_or(optimizer.epsilon),
            weight_decay: args.weight_decay.unwrap_or(optimizer.weight_decay),
        },
        // 0 turns clipping off, as in DeepSpeed.
        max_grad_norm: clipping
            .or(defaults.max_grad_norm)
            .filter(|&norm| norm != 0.0),
        loss_scale: file.fp16,
        seed: args.seed,
        shuffle: !args.no_shuffle,
        longest_first: args.longest_first,
        packing: args.packing,
        group_by_length: args.group_by_length,
        offload_optimizer: args.offload_optimizer || file.zero.offload_optimizer,
        offload_param: args.offload_param || file.zero.offload_param,
        shard_param: file.zero.stage == 3,
        gradient_checkpointing: args.gradient_checkpointing,
        dtype,
        on_nan: match args.on_nan {
            NanPolicy::Skip => OnNan::Skip,
            NanPolicy::Stop => OnNan::Stop,
        },
        show_loss_step: args.show_loss_step,
        save_model_step: args.save_model_step,
        save_total_limit: args.save_total_limit,
        val_size: args.validation.val_size,
        validation: validation_settings::settings(args),
        ..defaults
    })
}

/// The settings of a training in some processes, for those who plan it: of the first of them.
///
/// # Errors
/// As [`settings`].
pub fn planned(
    args: &TrainArgs,
    file: Option<&DeepSpeedConfig>,
    mode: Mode,
    dtype: FloatType,
    processes: usize,
) -> Result<TrainSettings> {
    // Processes take one of the devices each.
    let devices = match processes {
        1 => args.model.compute.devices.len().max(1),
        _ => 1,
    };
    Ok(settings(args, file, mode, dtype)?.resolved(devices, processes))
}

/// What a DeepSpeed file asks for and does not get on so many devices of each of some processes, one line each.
pub fn unmet(
    file: &DeepSpeedConfig,
    dtype: FloatType,
    (devices, processes): (usize, usize),
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |unmet: bool, line: String| {
        if unmet {
            lines.push(line);
        }
    };
    say(
        file.zero.stage > 0 && devices * processes <= 1,
        format!(
            "zero_optimization.stage {}: nothing to share out on one device",
            file.zero.stage
        ),
    );
    say(
        file.fp16.is_some() && dtype != FloatType::F16,
        format!(
            "fp16.enabled: computing in {dtype}, which needs no loss scale; --dtype f16 asks for it"
        ),
    );
    say(
        file.bf16 && dtype != FloatType::Bf16,
        format!("bf16.enabled: computing in {dtype}"),
    );
    lines.extend(file.notes.iter().cloned());
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;
    use glmtune_training::settings::Method;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(more: &str) -> TrainArgs {
        let line =
            format!("glmtune train --model-name-or-path M --train-path r --output-dir o {more}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Train(args) = cli.command else {
            unreachable!("the line is of train");
        };
        *args
    }

    #[test]
    fn a_library_user_has_the_defaults_of_the_command_line() {
        for mode in Mode::ALL {
            for (flags, method) in [
                ("", Method::lora(8)),
                ("--train-type ptuning", Method::ptuning(16)),
                ("--train-type all", Method::All),
            ] {
                let found = settings(&args(flags), None, mode, FloatType::F32);
                assert_eq!(found.unwrap(), TrainSettings::new(mode, method));
            }
        }
    }
}

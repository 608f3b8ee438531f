//! What a flag that does not exist was probably meant to be: names of other tools of the field.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error, Parser};

use std::ffi::OsString;

use super::Cli;

/// Names of PEFT, the Trainer, LLaMA-Factory and others, and what they are called here. Only those are said that
/// the command at hand has.
const SYNONYMS: [(&[&str], &str); 24] = [
    (&["lora-rank", "rank", "r", "lora-dimension"], "lora-dim"),
    (&["alpha", "lora-a"], "lora-alpha"),
    (
        &["lora-target", "target-modules", "lora-target-modules"],
        "lora-module-name",
    ),
    (
        &[
            "batch-size",
            "micro-batch-size",
            "bs",
            "per-device-batch-size",
        ],
        "per-device-train-batch-size",
    ),
    (
        &[
            "accumulation-steps",
            "grad-accum",
            "gradient-accumulation",
            "accumulate-grad-batches",
        ],
        "gradient-accumulation-steps",
    ),
    (
        &["epochs", "num-epochs", "epoch", "max-epochs"],
        "num-train-epochs",
    ),
    (&["lr", "learning-rate-max", "max-lr"], "learning-rate"),
    (&["min-lr"], "min-learning-rate"),
    (
        &["warmup", "warmup-proportion", "num-warmup-steps"],
        "warmup-ratio",
    ),
    (&["wd"], "weight-decay"),
    (
        &["clip", "grad-clip", "gradient-clipping", "max-norm"],
        "max-grad-norm",
    ),
    (
        &[
            "model",
            "model-path",
            "base-model",
            "model-name",
            "pretrained-model-name-or-path",
        ],
        "model-name-or-path",
    ),
    (
        &[
            "lora",
            "adapter-path",
            "adapter-name-or-path",
            "checkpoint-dir",
            "peft-path",
            "lora-path",
            "lora-dir",
            "ptuning-checkpoint",
        ],
        "adapter",
    ),
    (
        &[
            "data",
            "dataset",
            "data-path",
            "train-file",
            "train-data",
            "train-data-path",
        ],
        "train-path",
    ),
    (
        &[
            "data",
            "dataset",
            "data-path",
            "test-file",
            "test-data",
            "predict-path",
            "input",
        ],
        "test-path",
    ),
    (&["max-source-length", "max-input-length"], "max-src-len"),
    (
        &["max-length", "max-seq-length", "max-seq-len", "cutoff-len"],
        "max-len",
    ),
    (&["finetuning-type", "method", "stage"], "train-type"),
    (&["save-steps", "save-step"], "save-model-step"),
    (&["logging-steps", "log-interval"], "show-loss-step"),
    (
        &["output", "out", "save-dir", "export-dir", "output-path"],
        "output-dir",
    ),
    (
        &["out", "output-path", "output-file", "predictions"],
        "output",
    ),
    (&["device", "gpu", "gpus", "gpu-ids", "num-gpus"], "devices"),
    (&["max-tokens", "max-gen-len"], "max-new-tokens"),
];
/// Flags that belong to a launcher, which is not needed.
const LAUNCHER: [&str; 8] = [
    "master-port",
    "master-addr",
    "num-gpus",
    "num-nodes",
    "nproc-per-node",
    "nnodes",
    "include",
    "hostfile",
];
/// Flags of the Trainer for half precision.
const HALF: [&str; 4] = ["fp16", "bf16", "half", "float16"];

/// Parses a command line; an error about a flag that does not exist says which one may be meant.
///
/// # Errors
/// As clap's, with a tip.
pub fn parse(args: Vec<OsString>) -> Result<Cli, Error> {
    let command = command_of(&args);
    Cli::try_parse_from(args).map_err(|error| with_tip(error, command.as_deref()))
}

/// The name of the subcommand: the first word after the program's that is not a flag.
fn command_of(args: &[OsString]) -> Option<String> {
    let words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    words
        .into_iter()
        .find(|word| !word.starts_with('-'))
        .map(str::to_string)
}

fn with_tip(mut error: Error, command: Option<&str>) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = argument.trim_start_matches('-').to_string();
    if let Some(flag) = meant(&name, command) {
        let flag = ContextValue::String(format!("--{}", flag.replace('-', "_")));
        error.insert(ContextKind::SuggestedArg, flag);
    } else if let Some(tip) = advice(&name) {
        error.remove(ContextKind::SuggestedArg);
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// The flag of a command that goes by another name elsewhere.
fn meant(name: &str, command: Option<&str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let known = SYNONYMS
        .iter()
        .filter(|(names, _)| names.contains(&name.as_str()));
    let cli = Cli::command();
    let command = cli.find_subcommand(command?)?;
    known.map(|(_, flag)| *flag).find(|flag| {
        let mut flags = command.get_arguments().filter_map(clap::Arg::get_long);
        flags.any(|long| long == *flag)
    })
}

fn advice(name: &str) -> Option<&'static str> {
    if LAUNCHER.contains(&name) {
        return Some(
            "this is a flag of a launcher, and there is none here: leave it out. CUDA_VISIBLE_DEVICES or \
             --devices chooses the devices, mpirun starts several processes",
        );
    }
    HALF.contains(&name)
        .then_some("the computing type is chosen with --dtype f32, bf16 or f16")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        let args = super::super::normalize(line.split_whitespace().map(OsString::from));
        parse(args).unwrap_err().to_string()
    }

    #[test]
    fn other_tools_names_are_understood() {
        for (flag, meant) in [
            ("--lora_rank", "--lora_dim"),
            ("--rank", "--lora_dim"),
            ("--batch_size", "--per_device_train_batch_size"),
            ("--epochs", "--num_train_epochs"),
            ("--lr", "--learning_rate"),
            ("--target_modules", "--lora_module_name"),
            ("--logging-steps", "--show_loss_step"),
        ] {
            let text = message(&format!("glmtune train {flag} 3"));
            assert!(text.contains(&format!("'{meant}'")), "{flag}: {text}");
        }
        let text = message("glmtune generate --lora x");
        assert!(text.contains("'--adapter'"), "{text}");
        assert!(message("glmtune train --master_port 520").contains("leave it out"));
        assert!(message("glmtune train --fp16").contains("--dtype"));
    }

    #[test]
    fn every_synonym_names_a_flag_that_exists() {
        let cli = Cli::command();
        for (names, flag) in SYNONYMS {
            let has = |command: &clap::Command| {
                let mut flags = command.get_arguments().filter_map(clap::Arg::get_long);
                flags.any(|long| long == flag)
            };
            assert!(cli.get_subcommands().any(has), "{flag}");
            // A name that exists itself needs no tip.
            let train = cli.find_subcommand("train").unwrap();
            for name in names {
                assert!(
                    train
                        .get_arguments()
                        .all(|arg| arg.get_long() != Some(name)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_still_told() {
        assert!(message("glmtune train --learning_rat 1").contains("--learning-rate"));
    }
}

//! The command lines of a comparison's stages.

use std::ffi::OsString;
use std::path::Path;

use glmtune_training::parallel::processes::ranks::ProcessGroup;

use super::config::{Config, HELD_OUT, MethodConfig, arguments};
use super::folders::RunFolder;
use crate::cli::{self, Command, TrainArgs};
use crate::commands::error::{Error, Result};
use crate::commands::train::check_flags;

/// Flags of `train` that `predict` must have as well: the model's and the rows' form.
const SHARED: [&str; 12] = [
    "--max-len",
    "--max-src-len",
    "--prompt-column",
    "--query-column",
    "--response-column",
    "--history-column",
    "--prompt-text",
    "--mode",
    "--backend",
    "--devices",
    "--dtype",
    "--no-fused",
];

/// A flag with a path.
pub fn flag(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(format!("{name}="));
    argument.push(path);
    argument
}

/// What `train` is asked for a run.
pub fn train_args(
    config: &Config,
    method: &MethodConfig,
    seed: u64,
    folder: &RunFolder,
) -> Vec<OsString> {
    let mut args = vec![
        "train".into(),
        flag("--model-name-or-path", &config.base),
        flag("--train-path", &config.train),
        flag("--output-dir", &folder.training()),
        format!("--seed={seed}").into(),
        "--no-dashboard".into(),
    ];
    let has = |name: &str| method.settings.iter().any(|(flag, _)| flag == name);
    // Rows that the method holds out itself come before those of all methods.
    if !HELD_OUT.into_iter().any(has) {
        let path = config.eval_path.as_deref();
        args.extend(path.map(|path| flag("--eval-path", path)));
    }
    // One output is compared: the last, or the best, which is kept beside it.
    if !has("--save-total-limit") {
        args.push("--save-total-limit=1".into());
    }
    args.extend(arguments(&method.settings));
    args
}

/// The settings of a method that its answers depend on as well.
pub fn shared(method: &MethodConfig) -> Vec<OsString> {
    let own = method
        .settings
        .iter()
        .filter(|(flag, _)| SHARED.contains(&flag.as_str()));
    own.map(|(_, argument)| argument.clone()).collect()
}

fn program(args: Vec<OsString>) -> Vec<OsString> {
    [OsString::from("glmtune")]
        .into_iter()
        .chain(args)
        .collect()
}

/// The flags of a training.
///
/// # Errors
/// With what is wrong with them.
pub fn parse_train(args: Vec<OsString>) -> std::result::Result<Box<TrainArgs>, String> {
    match cli::parse(program(args)) {
        Ok(cli::Cli {
            command: Command::Train(args),
        }) => Ok(args),
        Ok(_) => Err("is not a training".to_string()),
        Err(error) => Err(first_lines(&error.to_string())),
    }
}

/// What is wrong with a command line, without how it is used.
fn first_lines(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:"));
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n  ")
}

/// That the flags of all methods have values that they can have, and do not contradict each other, before anything runs.
///
/// # Errors
/// With those that do not, by method.
pub fn check(config: &Config, out: &Path) -> Result<()> {
    let mut faults = Vec::new();
    let seed = config.seeds.first().copied().unwrap_or_default();
    for method in &config.methods {
        let folder = RunFolder::run(out, &method.folder, seed);
        let args = train_args(config, method, seed, &folder);
        let checked = parse_train(args).and_then(|args| {
            check_flags(&args, &ProcessGroup::default()).map_err(|error| error.to_string())
        });
        if let Err(fault) = checked {
            faults.push(format!("method {:?}: {fault}", method.name));
        }
    }
    let mut args: Vec<OsString> = [
        "predict",
        "--model-name-or-path=m",
        "--test-path=t",
        "--output=o",
    ]
    .map(OsString::from)
    .into();
    args.extend(arguments(&config.predict));
    if let Err(error) = cli::parse(program(args)) {
        faults.push(format!("[predict]: {}", first_lines(&error.to_string())));
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Request(faults.join("\n  "))),
    }
}

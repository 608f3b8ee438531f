//! The commands: each checks its flags, runs library code, and prints.

mod bench;
mod chat;
mod child;
mod compare;
mod console;
mod doctor;
mod error;
mod eval;
mod generate;
mod init;
mod inspect;
mod leftovers;
mod merge;
mod plan;
mod predict;
mod process;
mod ranks;
mod report;
mod score;
mod serve;
mod serve_memory;
mod session;
mod shell;
mod tokenize;
mod train;
mod work;

pub use error::{Error, Result};
pub use train::quick_start::settings as quick_start_settings;

use glmtune_model::device_health;
use tracing_subscriber::EnvFilter;

use crate::backend;
use crate::cli::Command;

/// Runs a command.
///
/// # Errors
/// As the command says, or that a device has failed.
pub fn run(command: Command) -> Result<()> {
    let result = device_health::guard(|| start(command));
    match (result, device_health::check()) {
        // An error that came of a failed device says less than the failure itself.
        (Err(error), Err(failure)) if !error.is_device_failure() => Err(failure.into()),
        (result, _) => result,
    }
}

fn start(command: Command) -> Result<()> {
    if let Some(model) = command.model() {
        backend::set_fused(!model.compute.no_fused);
    }
    match command {
        Command::Train(args) => train::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}

/// Crates whose messages a bare level in `GLMTUNE_LOG` is about; those of libraries below would drown them.
const CRATES: [&str; 3] = ["glmtune", "glmtune_model", "glmtune_training"];

/// Warnings go to standard error; `GLMTUNE_LOG` asks for more: a level (`info`, `debug`), or directives of
/// `tracing-subscriber` for any crate.
pub fn start_logging() {
    let asked = std::env::var("GLMTUNE_LOG").unwrap_or_default();
    let filter = match asked.parse::<tracing::Level>() {
        Ok(level) => directives(&level.to_string()),
        Err(_) if asked.is_empty() => directives("warn"),
        Err(_) => asked,
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(directives("warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(crate::print::LogWriter::default)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        // It would panic where standard error is gone.
        .log_internal_errors(false)
        .without_time()
        .with_target(false)
        .init();
}

/// Errors of all crates, and our own messages from a level on.
fn directives(level: &str) -> String {
    let own = CRATES.map(|name| format!(",{name}={level}"));
    format!("error{}", own.concat())
}

//! The `glmtune` program: exit statuses and the one printer of errors.

use std::process::ExitCode;

use clap::Parser;
use glmtune::cli::{Cli, normalize};
use glmtune::commands::{self, Error};
use glmtune::settings_file;

// The temporaries of a CPU run are large and short-lived; the system's allocator returns their pages
// and faults them in again each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // SAFETY: the first line of the program; no thread has been started.
    unsafe { glmtune::backend::quiet_vulkan_layers() };
    commands::start_logging();
    let args = match settings_file::expand(
        normalize(std::env::args_os()),
        commands::quick_start_settings,
    ) {
        Ok(args) => args,
        Err(error) => {
            let error = Error::from(error);
            print_error(&error);
            return ExitCode::from(error.exit_status());
        }
    };
    let cli = Cli::parse_from(args);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has gone, as `head` does: nothing is wrong.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

fn print_error(error: &Error) {
    let mut said = error.to_string();
    eprintln!("error: {said}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        // Most errors tell their cause themselves.
        if !said.contains(&text) {
            eprintln!("  caused by: {text}");
        }
        said = text;
        source = cause.source();
    }
}

//! The `glmtune` program: its exit statuses.

use std::process::ExitCode;

use glmtune::cli::{normalize, parse};
use glmtune::commands::{self, Error};
use glmtune::{print, settings_file};

// The temporaries of a CPU run are large and short-lived; the system's allocator returns their pages
// and faults them in again each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // SAFETY: the first line of the program; no thread has been started.
    unsafe { glmtune::backend::quiet_vulkan_layers() };
    glmtune::model::device_health::watch();
    commands::start_logging();
    let args = match settings_file::expand(
        normalize(std::env::args_os()),
        commands::quick_start_settings,
    ) {
        Ok(args) => args,
        Err(error) => return failed(&Error::from(error)),
    };
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(message) => return print::usage(&message),
    };
    match commands::run(cli.command) {
        Ok(()) => print::finish(Ok(())),
        // Whoever reads the output has gone, as `head` does: nothing is wrong.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    print::error(error);
    ExitCode::from(error.exit_status())
}

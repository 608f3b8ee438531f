//! The `glmtune` program: its exit statuses.

use std::process::ExitCode;

use glmtune::cli::{Command, normalize, parse};
use glmtune::commands::{self, Error};
use glmtune::{print, settings_file};

// The temporaries of a CPU run are large and short-lived; the system's allocator returns their pages
// and faults them in again each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// The allocator's own function; `mimalloc`'s Rust side has it only with more of its features.
    safe fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
}

/// `mi_option_purge_delay` of `mimalloc.h`, in milliseconds.
const PURGE_DELAY: std::ffi::c_int = 15;

/// Freed memory stays with the process, for what comes next: a step of a training frees and asks for gigabytes, and each
/// page that went back to the system in between is faulted in and cleared again, which took up to a fifth of a step.
/// The allocator's own variable of the environment prevails.
fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        mi_option_set(PURGE_DELAY, -1);
    }
}

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
    if matches!(
        cli.command,
        Command::Train(_) | Command::Bench(_) | Command::Compare(_)
    ) {
        keep_freed_memory();
    }
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

//! The one place that writes to a person: nothing here can end the program.
//!
//! `println!` and its kin panic where a pipe has lost its reader or a disk is full; the workspace's lints
//! forbid them. What a command was asked for (a generation, a table) is written with `writeln!` instead,
//! whose failure is the command's.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use glmtune_model::printable::printable_lines;

/// Whether a failure of standard output was reported.
static HAS_WARNED: AtomicBool = AtomicBool::new(false);

/// A line on standard output that tells of work which goes on whether it is read or not.
pub fn say(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !HAS_WARNED.swap(true, Ordering::SeqCst)
    {
        note(format!(
            "warning: standard output: {error}; the work goes on"
        ));
    }
}

/// A line on standard error, for the person at the terminal.
pub fn note(text: impl AsRef<str>) {
    // Where standard error fails, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints an error with its causes.
pub fn error(error: &dyn std::error::Error) {
    let mut said = error.to_string();
    note(format!("error: {}", printable_lines(&said)));
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Most errors tell their cause themselves.
        if !said.contains(&text) {
            note(format!("  caused by: {}", printable_lines(&text)));
        }
        said = text;
        source = cause.source();
    }
}

/// Prints what clap has to say, help or a fault of the command line.
pub fn usage(message: &clap::Error) -> ExitCode {
    let printed = message.print();
    match message.use_stderr() {
        true => exit_code(message.exit_code()),
        false => finish(printed),
    }
}

/// The exit status of a command that has done its work: a failure if its output is not out.
pub fn finish(written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has gone, as `head` does: nothing is wrong.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            note(format!("error: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

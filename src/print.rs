//! The one place that writes to a person: nothing here can end the program.
//!
//! `println!` and its kin panic where a pipe has lost its reader or a disk is full; the workspace's lints
//! forbid them. What a command was asked for (a generation, a table) is written with `writeln!` instead,
//! whose failure is the command's.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use glmtune_model::printable::printable_lines;

/// Whether a failure of standard output was reported.
static HAS_WARNED: AtomicBool = AtomicBool::new(false);
/// Who takes the lines while a dashboard has the terminal.
static TAKER: Mutex<Option<Taker>> = Mutex::new(None);

type Taker = Box<dyn FnMut(Stream, &str) + Send>;

/// Where a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// From here on, lines go to `taker` instead of the terminal, which something else has. It must not print.
pub fn divert(taker: impl FnMut(Stream, &str) + Send + 'static) {
    *taker_slot() = Some(Box::new(taker));
}

/// From here on, lines are printed again.
pub fn undivert() {
    *taker_slot() = None;
}

fn taker_slot() -> MutexGuard<'static, Option<Taker>> {
    TAKER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the line was taken.
fn is_diverted(stream: Stream, text: &str) -> bool {
    match taker_slot().as_mut() {
        Some(taker) => {
            taker(stream, text);
            true
        }
        None => false,
    }
}

/// A line where it belongs.
pub fn line(stream: Stream, text: &str) {
    match stream {
        Stream::Out => say(text),
        Stream::Err => note(text),
    }
}

/// A line on standard output that tells of work which goes on whether it is read or not.
pub fn say(text: impl AsRef<str>) {
    if is_diverted(Stream::Out, text.as_ref()) {
        return;
    }
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
    if is_diverted(Stream::Err, text.as_ref()) {
        return;
    }
    // Where standard error fails, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// A writer for a logger, one line at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        // The lines of work that went on regardless, and is done.
        Err(_) if HAS_WARNED.load(Ordering::SeqCst) => ExitCode::SUCCESS,
        Err(error) => {
            note(format!("error: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

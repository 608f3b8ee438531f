//! Printing: results on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glmtune_model::files;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::error::{Error, Result};
pub use crate::print::{note, say};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a Ctrl-C does.
type Handler = Arc<dyn Fn() + Send + Sync>;
/// What it does now: a command may be a part of another one, which takes it back.
static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// From here on, Ctrl-C asks the running generation to stop; a second one ends the program.
///
/// # Errors
/// If the handler cannot be set.
pub fn catch_interrupts() -> Result<()> {
    on_interrupts(|| {}, || {}).map(drop)
}

/// From here on, the first Ctrl-C calls `first`, and a second one calls `second` and ends the program. Gives
/// what a Ctrl-C does, for who reads it from the keyboard.
///
/// # Errors
/// If the handler cannot be set.
pub fn on_interrupts(
    first: impl Fn() + Send + Sync + 'static,
    second: impl Fn() + Send + Sync + 'static,
) -> Result<Arc<dyn Fn() + Send + Sync>> {
    let handler: Handler = Arc::new(move || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            second();
            std::process::exit(130);
        }
        first();
    });
    *handler_slot() = Some(handler.clone());
    let run = || {
        let handler = handler_slot().clone();
        if let Some(handler) = handler {
            handler();
        }
    };
    match ctrlc::set_handler(run) {
        // Set before, by the same program.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(handler),
        Err(error) => Err(Error::Stream(std::io::Error::other(error))),
    }
}

fn handler_slot() -> MutexGuard<'static, Option<Handler>> {
    HANDLER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether Ctrl-C was pressed since the last [`clear_interrupt`].
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Forgets an interrupt.
pub fn clear_interrupt() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// If the writer fails.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// A bar on a terminal's standard error; nothing elsewhere.
pub fn progress_bar(message: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0).with_message(message.to_string());
    match ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Opens a file to read, or standard input for `-`.
///
/// # Errors
/// If the file cannot be opened; the error names it.
pub fn open_input(path: &Path) -> Result<Box<dyn std::io::BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::BufReader::new(std::io::stdin())));
    }
    Ok(Box::new(std::io::BufReader::new(files::open_stream(path)?)))
}

/// Bytes for people.
pub fn human_bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with separators between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(human_bytes(1536.0), "1.5 KiB");
        assert_eq!(human_bytes(3.0 * 1024.0 * 1024.0 * 1024.0), "3.0 GiB");
    }
}

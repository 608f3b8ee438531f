//! This same program as a child process: a stage of a run has its own memory, which can be measured, and when it fails
//! or is stopped nothing else is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::console::interrupted;
use super::error::Result;
use super::process;

/// Between two looks at a child that says nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of standard error that are kept of a child that fails.
const KEPT_LINES: usize = 12;

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it did what it was asked to.
    pub succeeded: bool,
    /// Its exit status, if it ended by itself.
    pub status: Option<i32>,
    /// How long it ran.
    pub seconds: f64,
    /// Most memory that it had at once, where the system tells.
    pub peak_bytes: Option<u64>,
    /// The last lines that it had to say if it failed.
    pub error: Vec<String>,
}

/// What to run, and where.
pub struct Task<'a> {
    /// Arguments of this program.
    pub args: &'a [OsString],
    /// The folder from which relative paths start.
    pub folder: &'a Path,
    /// What it says goes here, after what is there.
    pub log: &'a Path,
}

/// A line of a child, or nothing for a while.
pub enum News<'a> {
    /// A line of its standard output.
    Line(&'a str),
    /// It goes on.
    Quiet,
}

/// Runs a child to its end, and tells `watch` how it goes. Ctrl-C is passed on to it, once.
///
/// # Errors
/// If it cannot be started, or its log not be written.
pub fn run(task: &Task<'_>, watch: &mut dyn FnMut(News<'_>)) -> Result<Ended> {
    let started = Instant::now();
    let mut log = open_log(task)?;
    let mut child = start(task)?;
    let lines = lines_of(&mut child);
    let (mut peak, mut errors) = (None, VecDeque::new());
    let mut is_told = false;
    loop {
        peak = peak.max(process::peak_bytes(child.id()));
        if interrupted() && !is_told {
            is_told = true;
            process::interrupt(&mut child);
        }
        match lines.recv_timeout(PAUSE) {
            Ok(line) => {
                writeln!(log, "{}", line.text)?;
                if line.is_error {
                    errors.push_back(line.text);
                    errors.drain(..errors.len().saturating_sub(KEPT_LINES));
                } else {
                    watch(News::Line(&line.text));
                }
            }
            Err(RecvTimeoutError::Timeout) => watch(News::Quiet),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    process::forget();
    if !status.success() {
        errors.extend(signal(status));
    }
    Ok(Ended {
        succeeded: status.success(),
        status: status.code(),
        seconds: started.elapsed().as_secs_f64(),
        peak_bytes: peak,
        error: errors.into(),
    })
}

fn open_log(task: &Task<'_>) -> Result<File> {
    let failed = |error| glmtune_model::Error::io(task.log, error);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(task.log)
        .map_err(failed)?;
    let words: Vec<_> = task.args.iter().map(|arg| arg.to_string_lossy()).collect();
    writeln!(log, "$ glmtune {}", words.join(" ")).map_err(failed)?;
    Ok(log)
}

fn start(task: &Task<'_>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(task.args)
        .current_dir(task.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(process::spawn(&mut command)?)
}

/// A line of a child.
struct Line {
    text: String,
    is_error: bool,
}

/// What a child says, until it has closed both of its outputs.
fn lines_of(child: &mut Child) -> Receiver<Line> {
    let (sender, receiver) = channel();
    if let Some(out) = child.stdout.take() {
        read_lines(out, false, sender.clone());
    }
    if let Some(errors) = child.stderr.take() {
        read_lines(errors, true, sender);
    }
    receiver
}

fn read_lines(stream: impl Read + Send + 'static, is_error: bool, sender: Sender<Line>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(stream.read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']).to_string();
            if sender.send(Line { text, is_error }).is_err() {
                break;
            }
            bytes.clear();
        }
    });
}

/// What ended a child that did not end by itself.
#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<String> {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status)?;
    let reason = if signal == libc::SIGKILL {
        "; perhaps the memory ran out"
    } else {
        ""
    };
    Some(format!("ended by signal {signal}{reason}"))
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<String> {
    None
}

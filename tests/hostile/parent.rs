//! Runs children over ranges of inputs, ends those that take too long, and counts.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The longest that an input may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the inputs of a target.
#[derive(Default)]
pub struct Counts {
    pub accepted: usize,
    pub refused: usize,
    pub skipped: bool,
    /// Panics, aborts, hangs, over-allocations and wrong results, with the number of the input.
    pub faults: Vec<String>,
    /// How many faults of each kind.
    pub kinds: BTreeMap<String, usize>,
}

impl Counts {
    fn fault(&mut self, kind: &str, index: usize, detail: &str) {
        *self.kinds.entry(kind.to_string()).or_default() += 1;
        self.faults
            .push(format!("{kind} at input {index}: {detail}"));
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.skipped {
            return f.write_str("skipped: what it is made from is not here");
        }
        let count = |kind: &str| self.kinds.get(kind).copied().unwrap_or(0);
        write!(
            f,
            "{} refused, {} accepted; {} panics, {} aborts, {} hangs, {} over-allocations, {} wrong",
            self.refused,
            self.accepted,
            count("panic"),
            count("abort"),
            count("hang"),
            count("memory"),
            count("wrong")
        )
    }
}

/// Reads `count` inputs of a target, in as many children as it takes.
pub fn run(target: &str, seed: u64, count: usize) -> Counts {
    let mut counts = Counts::default();
    let mut next = 0;
    while next < count && !counts.skipped {
        let (mut child, lines) = start(target, seed, next, count);
        next = follow(&lines, &mut counts, next, count);
        let _ = child.kill();
        let _ = child.wait();
        if counts.faults.len() > 200 {
            break;
        }
    }
    counts
}

fn start(target: &str, seed: u64, from: usize, to: usize) -> (Child, Receiver<String>) {
    let range = format!("{seed} {from} {to} {target}");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(crate::CHILD, range)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let out = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(said) = line.strip_prefix("HOSTILE ") {
                let _ = sender.send(said.to_string());
            }
        }
    });
    (child, lines)
}

/// Counts what a child says, to its end; gives the next input.
fn follow(lines: &Receiver<String>, counts: &mut Counts, from: usize, to: usize) -> usize {
    let mut at = from;
    loop {
        let line = match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                counts.fault("hang", at, "no end within 20 seconds");
                return at + 1;
            }
            Err(RecvTimeoutError::Disconnected) => {
                counts.fault("abort", at, "the process ended");
                return at + 1;
            }
        };
        let mut parts = line.splitn(3, ' ');
        let (word, index) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let detail = parts.next().unwrap_or_default();
        match word {
            "start" => at = index.parse().unwrap_or(at),
            "accepted" => counts.accepted += 1,
            "refused" => counts.refused += 1,
            "skipped" => counts.skipped = true,
            "end" => return to,
            kind => counts.fault(kind, at, detail),
        }
        if counts.skipped {
            return to;
        }
    }
}

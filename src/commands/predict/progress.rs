//! How far a prediction is: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use glmtune_training::report::clock;
use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::console::note;

/// Time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Time between two changes of the bar.
const BETWEEN_CHANGES: Duration = Duration::from_millis(200);

/// The progress of a prediction.
pub struct Progress {
    total: usize,
    /// Rows that were there before.
    kept: usize,
    /// Rows answered since.
    rows: usize,
    tokens: usize,
    started: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts the clock for so many rows, of which some are there.
    pub fn start(total: usize, kept: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(total, kept));
        Self {
            total,
            kept,
            rows: 0,
            tokens: 0,
            started: Instant::now(),
            told: Instant::now(),
            bar,
        }
    }

    /// Counts a token.
    pub fn token(&mut self) {
        self.tokens += 1;
        self.tell();
    }

    /// Counts a row.
    pub fn row(&mut self) {
        self.rows += 1;
        self.tell();
    }

    fn tell(&mut self) {
        let wait = match self.bar {
            Some(_) => BETWEEN_CHANGES,
            None => BETWEEN_LINES,
        };
        if self.told.elapsed() < wait {
            return;
        }
        self.told = Instant::now();
        let rates = self.rates();
        match &self.bar {
            Some(bar) => {
                bar.set_position((self.kept + self.rows) as u64);
                bar.set_message(rates);
            }
            None => note(format!(
                "row {}/{}  {rates}",
                self.kept + self.rows,
                self.total
            )),
        }
    }

    /// Rows and tokens per second, and the time left.
    fn rates(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let tokens = format!("{:.0} tokens/s", self.tokens as f64 / seconds);
        if self.rows == 0 {
            return tokens;
        }
        let rate = self.rows as f64 / seconds;
        let left = (self.total - self.kept - self.rows) as f64 / rate;
        format!("{rate:.2} rows/s  {tokens}  {} left", clock(left))
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// `, 40 of them in 12.3 s, 3.25 rows/s, 204 tokens/s`.
    pub fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let these = match self.kept {
            0 => String::new(),
            _ => format!(", {} of them", self.rows),
        };
        format!(
            "{these} in {seconds:.1} s, {:.2} rows/s, {:.0} tokens/s",
            self.rows as f64 / seconds,
            self.tokens as f64 / seconds
        )
    }
}

fn bar(total: usize, kept: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64).with_position(kept as u64);
    match ProgressStyle::with_template("rows {bar:30} {pos}/{len}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

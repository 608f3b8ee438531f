//! How far a comparison is: two lines at the foot of a terminal, and plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

use glmtune_training::report::clock;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::commands::console::note;

/// Parts of a stage that its bar shows.
const PARTS: u64 = 1000;

/// The progress of all stages.
pub struct Progress {
    screen: Option<Screen>,
    pace: Mutex<Pace>,
}

struct Screen {
    bars: MultiProgress,
    whole: ProgressBar,
    stage: ProgressBar,
}

/// How long stages take, by their kind.
#[derive(Debug, Default)]
struct Pace {
    /// Durations of those that are done.
    took: BTreeMap<&'static str, Vec<f64>>,
    /// Those that are still to be done, with the one at hand.
    left: BTreeMap<&'static str, usize>,
    /// The one at hand, since when, and how far.
    at: Option<(&'static str, Instant, f64)>,
}

impl Pace {
    /// Seconds until everything is done; nothing as long as a kind of stage has never been seen.
    fn seconds_left(&self) -> Option<f64> {
        let mut seconds = 0.0;
        for (kind, count) in self.left.iter().filter(|(_, count)| **count > 0) {
            let here = self.at.filter(|(at, ..)| at == kind);
            let (elapsed, done) = here.map_or((0.0, 0.0), |(_, since, done)| {
                (since.elapsed().as_secs_f64(), done)
            });
            let took = self.took.get(kind).filter(|took| !took.is_empty());
            let each = match took {
                Some(took) => took.iter().sum::<f64>() / took.len() as f64,
                None if done > 0.0 => elapsed / done,
                None => return None,
            };
            seconds += each * (*count as f64 - done).max(0.0);
        }
        Some(seconds)
    }

    fn line(&self) -> String {
        let left = self
            .seconds_left()
            .map(|left| format!("about {} left", clock(left)));
        left.unwrap_or_else(|| "time left not known yet".to_string())
    }
}

impl Progress {
    /// Nothing done yet of a number of stages of each kind.
    pub fn new(stages: &[(&'static str, usize)]) -> Self {
        let total = stages.iter().map(|(_, count)| count).sum::<usize>();
        let screen = std::io::stderr()
            .is_terminal()
            .then(|| Screen::new(total as u64));
        Self {
            screen,
            pace: Mutex::new(Pace {
                left: stages.iter().copied().collect(),
                ..Pace::default()
            }),
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether bars are shown, for which it is worth while to look how far a stage is.
    pub fn is_shown(&self) -> bool {
        self.screen.is_some()
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        match &self.screen {
            Some(screen) => screen.bars.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// A stage begins.
    pub fn begin(&self, kind: &'static str, name: &str) {
        self.pace().at = Some((kind, Instant::now(), 0.0));
        match &self.screen {
            Some(screen) => {
                screen.stage.set_position(0);
                screen.stage.set_message(format!("{name}: {kind}"));
                self.refresh();
            }
            None => note(format!("{name}: {kind}")),
        }
    }

    /// How far it is, from 0 to 1.
    pub fn advance(&self, done: f64) {
        if let Some(at) = &mut self.pace().at {
            at.2 = done.clamp(0.0, 1.0);
        }
        if let Some(screen) = &self.screen {
            screen
                .stage
                .set_position((done.clamp(0.0, 1.0) * PARTS as f64) as u64);
            self.refresh();
        }
    }

    /// A stage is over, after some seconds, or will not be done. One that was done before counts for the pace.
    pub fn end(&self, kind: &'static str, seconds: Option<f64>) {
        {
            let mut pace = self.pace();
            pace.at = None;
            if let Some(left) = pace.left.get_mut(kind) {
                *left = left.saturating_sub(1);
            }
            if let Some(seconds) = seconds {
                pace.took.entry(kind).or_default().push(seconds);
            }
        }
        if let Some(screen) = &self.screen {
            screen.whole.inc(1);
            self.refresh();
        }
    }

    /// The time that is left, for people.
    pub fn left(&self) -> String {
        self.pace().line()
    }

    fn refresh(&self) {
        if let Some(screen) = &self.screen {
            screen.whole.set_message(self.pace().line());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(screen) = &self.screen {
            let _ = screen.bars.clear();
        }
    }
}

impl Screen {
    fn new(total: u64) -> Self {
        let bars = MultiProgress::new();
        let bar = |length: u64, template: &str| {
            let bar = bars.add(ProgressBar::new(length));
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        };
        Self {
            whole: bar(total, "comparison {bar:30} {pos}/{len} stages, {msg}"),
            stage: bar(PARTS, "           {bar:30} {percent:>3} % {msg}"),
            bars,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_stages_seen_before() {
        let mut pace = Pace::default();
        pace.left.insert("training", 3);
        pace.left.insert("prediction", 3);
        assert_eq!(pace.seconds_left(), None);
        pace.took.insert("training", vec![10.0, 20.0]);
        assert_eq!(pace.seconds_left(), None);
        pace.took.insert("prediction", vec![1.0]);
        assert_eq!(pace.seconds_left(), Some(48.0));
        pace.at = Some(("training", Instant::now(), 0.5));
        assert_eq!(pace.seconds_left(), Some(40.5));
    }
}

//! How far a comparison is: two lines at the foot of a terminal, and plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

use glmtune_model::printable::printable_lines;
use glmtune_training::report::clock;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::commands::console::note;

/// The two lines: messages are cut off at the edge of the terminal.
const WHOLE: &str = "{bar:12} {pos}/{len} stages, {wide_msg}";
const STAGE: &str = "{bar:12} {percent:>3} % {wide_msg}";
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
    /// The one at hand.
    at: Option<Current>,
}

/// A stage at hand.
#[derive(Debug, Clone, Copy)]
struct Current {
    kind: &'static str,
    since: Instant,
    /// How far it is, from 0 to 1, and after how many seconds it said so.
    done: f64,
    seconds: f64,
}

impl Current {
    /// How long the whole of it takes by its own pace, once there is one.
    fn expected(&self) -> Option<f64> {
        (self.done > 0.0).then(|| self.seconds / self.done)
    }

    /// Seconds until it is done, where the whole of it takes so many. It may say for long nothing of how far it is.
    fn left(&self, whole: f64) -> f64 {
        (whole - self.since.elapsed().as_secs_f64()).max(0.0)
    }
}

impl Pace {
    /// Seconds until everything is done; nothing as long as a kind of stage has never been seen.
    fn seconds_left(&self) -> Option<f64> {
        let mut seconds = 0.0;
        for (kind, count) in self.left.iter().filter(|(_, count)| **count > 0) {
            let here = self.at.filter(|at| at.kind == *kind);
            let here_whole = here.and_then(|at| at.expected());
            let took = self.took.get(kind).filter(|took| !took.is_empty());
            let each = match took {
                Some(took) => took.iter().sum::<f64>() / took.len() as f64,
                None => here_whole?,
            };
            seconds += match here {
                Some(at) => at.left(here_whole.unwrap_or(each)) + each * (*count - 1) as f64,
                None => each * *count as f64,
            };
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
        self.speaker()(text);
    }

    /// What says lines that stay, for who outlives this.
    pub fn speaker(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let bars = self.screen.as_ref().map(|screen| screen.bars.clone());
        move |text: &str| {
            let text = printable_lines(text);
            match &bars {
                Some(bars) => bars.suspend(|| note(text)),
                None => note(text),
            }
        }
    }

    /// A stage is done; the time that is left stands in the bar, where there is one.
    pub fn say_done(&self, kind: &str, name: &str, seconds: f64) {
        let done = format!("{name}: {kind} done in {seconds:.1} s");
        match self.screen {
            Some(_) => self.say(&done),
            None => self.say(&format!("{done}; {}", self.pace().line())),
        }
    }

    /// A stage begins.
    pub fn begin(&self, kind: &'static str, name: &str) {
        self.pace().at = Some(Current {
            kind,
            since: Instant::now(),
            done: 0.0,
            seconds: 0.0,
        });
        let text = format!("{name}: {kind}");
        match &self.screen {
            Some(screen) => {
                screen.stage.set_position(0);
                screen.stage.set_message(text);
                self.refresh();
            }
            None => note(text),
        }
    }

    /// How far it is, from 0 to 1.
    pub fn advance(&self, done: f64) {
        if let Some(at) = &mut self.pace().at
            && done > at.done
        {
            at.done = done.min(1.0);
            at.seconds = at.since.elapsed().as_secs_f64();
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

    /// Shows the time that is left now.
    pub fn refresh(&self) {
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
            whole: bar(total, WHOLE),
            stage: bar(PARTS, STAGE),
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
        // One that is slower than those before it, and one that has not said yet how far it is.
        let mut at = Current {
            kind: "training",
            since: Instant::now(),
            done: 0.25,
            seconds: 10.0,
        };
        pace.at = Some(at);
        let near = |left: Option<f64>, expected: f64| {
            left.is_some_and(|left| (left - expected).abs() < 0.5)
        };
        assert!(near(pace.seconds_left(), 40.0 + 30.0 + 3.0));
        at.done = 0.0;
        pace.at = Some(at);
        assert!(near(pace.seconds_left(), 15.0 + 30.0 + 3.0));
    }
}

//! What the dashboard knows; it draws nothing.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use glmtune_training::observer::{Event, Request, RunDescription};
use glmtune_training::report::{EvalRecord, History, StepRecord};

use super::series::Series;

/// Notes that are kept.
const NOTES: usize = 200;
/// The span of the loss's moving average: a share of the run, and its limits in steps.
const SPAN_SHARE: f64 = 0.05;
const LEAST_SPAN: f64 = 5.0;
const GREATEST_SPAN: f64 = 200.0;
/// How much of the pace a step makes out.
const PACE_SHARE: f64 = 0.1;

/// What the person at the keyboard is being asked or has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Watching,
    /// Whether to stop.
    Asking,
    /// To stop, in this way.
    Stopping(Request),
}

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct State {
    /// The run.
    pub run: RunDescription,
    /// The last step.
    pub last: Option<StepRecord>,
    /// Loss on the rows that are trained on.
    pub loss: Series,
    /// Loss on the rows that are held out; empty without such.
    pub eval_loss: Series,
    /// The last validation.
    pub validation: Option<EvalRecord>,
    /// Learning rate.
    pub rate: Series,
    /// Norm of the gradients.
    pub norm: Series,
    /// Tokens per second.
    pub speed: Series,
    /// The last output, by its name, and its step.
    pub saved: Option<(u64, String)>,
    /// The newest last.
    pub notes: VecDeque<String>,
    /// What the keyboard is about.
    pub mode: Mode,
    /// Whether the loss is drawn on a logarithmic scale.
    pub is_log_scale: bool,
    /// Seconds of a step, what is saved included.
    pace: Option<f64>,
    /// Since the start of this process's part of the run.
    elapsed: Duration,
    /// The same when the last step was done.
    last_step_at: Duration,
}

impl State {
    /// The state of a run that is about to start; `history` is what came before a resume.
    pub fn new(run: RunDescription, history: &History) -> Self {
        let span = (run.total_steps as f64 * SPAN_SHARE).clamp(LEAST_SPAN, GREATEST_SPAN);
        let mut state = Self {
            last: None,
            loss: Series::new(span),
            eval_loss: Series::new(1.0),
            validation: None,
            rate: Series::new(1.0),
            norm: Series::new(span),
            speed: Series::new(span),
            saved: None,
            notes: VecDeque::new(),
            mode: Mode::Watching,
            is_log_scale: false,
            pace: None,
            elapsed: Duration::ZERO,
            last_step_at: Duration::ZERO,
            run,
        };
        history.steps.iter().for_each(|record| state.add(record));
        let validations = history.validations.iter();
        validations.for_each(|record| state.add_validation(record));
        state
    }

    /// Takes in an event that happened so long after the start.
    pub fn notice(&mut self, event: &Event<'_>, elapsed: Duration) {
        self.elapsed = elapsed;
        match event {
            Event::Started(run) => self.run = (*run).clone(),
            Event::Step(record) => {
                self.add(record);
                self.measure_pace(record);
            }
            Event::Evaluated(record) => {
                self.note(&record.line());
                self.add_validation(record);
            }
            Event::Note(text) => self.note(text),
            Event::Saved(step, path) => {
                self.note(&format!("saved {}", path.display()));
                self.saved = Some((*step, name(path)));
            }
            Event::Ability(_) | Event::EpochEnd(_) | Event::Finished(_) => {}
        }
    }

    /// Time goes by.
    pub fn tick(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    /// Adds a note, each of its lines as one.
    pub fn note(&mut self, text: &str) {
        for line in text.lines() {
            self.notes.push_back(plain(line));
        }
        while self.notes.len() > NOTES {
            self.notes.pop_front();
        }
    }

    fn add(&mut self, record: &StepRecord) {
        self.loss.push(record.step, record.loss);
        self.rate.push(record.step, record.lr);
        self.norm.push(record.step, record.grad_norm);
        self.speed.push(record.step, record.speed());
        self.last = Some(*record);
    }

    fn add_validation(&mut self, record: &EvalRecord) {
        self.eval_loss.push(record.step, record.loss);
        self.validation = Some(record.clone());
    }

    fn measure_pace(&mut self, record: &StepRecord) {
        let since = self.elapsed.saturating_sub(self.last_step_at).as_secs_f64();
        self.last_step_at = self.elapsed;
        self.pace = Some(match self.pace {
            // What comes before a first step is not a step's.
            None => record.seconds,
            Some(pace) => pace + PACE_SHARE * (since - pace),
        });
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        let last = self.last.map_or(0, |record| record.step);
        last.max(self.run.done_steps)
    }

    /// The epoch at hand, from 1.
    pub fn epoch(&self) -> usize {
        self.last.map_or(1, |record| record.epoch)
    }

    /// Share of the run that is done.
    pub fn share(&self) -> f64 {
        (self.step() as f64 / self.run.total_steps.max(1) as f64).clamp(0.0, 1.0)
    }

    /// Since the start of this process's part of the run.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Seconds that are left, once a step has been taken.
    pub fn left(&self) -> Option<f64> {
        let steps = self.run.total_steps.saturating_sub(self.step());
        let waited = self.elapsed.saturating_sub(self.last_step_at).as_secs_f64();
        self.pace
            .map(|pace| (steps as f64 * pace - waited.min(pace)).max(0.0))
    }

    /// Steps since the last output.
    pub fn unsaved_steps(&self) -> u64 {
        let saved = self.saved.as_ref().map_or(self.run.done_steps, |at| at.0);
        self.step().saturating_sub(saved)
    }
}

/// Without colours and other controls: what a file or an error says must not steer the terminal.
fn plain(line: &str) -> String {
    let mut characters = line.chars().peekable();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        if character == '\x1b' && characters.next_if_eq(&'[').is_some() {
            let is_parameter = |c: &char| ('\x20'..'\x40').contains(c);
            while characters.next_if(is_parameter).is_some() {}
            characters.next();
        } else if !character.is_control() {
            text.push(character);
        }
    }
    text
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
pub mod tests {
    use std::path::PathBuf;

    use glmtune_training::observer::RunLabels;

    use super::*;

    /// A run of 400 steps of which some are done.
    pub fn state(steps: u64) -> State {
        let run = RunDescription {
            labels: RunLabels {
                run: "out/first-run".to_string(),
                model: "chatglm3-6b".to_string(),
                method: "lora, rank 8".to_string(),
                devices: vec!["flex (CPU, 2 threads), f32".to_string()],
                parameters: 6_243_584_000,
            },
            trained: 1_949_696,
            total_steps: 400,
            epochs: 4,
            done_steps: 0,
        };
        let mut state = State::new(run, &History::default());
        for step in 1..=steps {
            let record = record(step);
            let time = Duration::from_millis(500 * step);
            state.notice(&Event::Step(&record), time);
            if step % 100 == 0 {
                let path = PathBuf::from(format!("out/first-run/epoch-1-step-{step}"));
                state.notice(&Event::Saved(step, &path), time);
            }
        }
        state
    }

    pub fn record(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 1 + (step as usize - 1) / 100,
            loss: 0.25
                + 4.0 * (-(step as f64) / 60.0).exp()
                + 0.2 * ((step * 7919 % 100) as f64 / 100.0),
            lr: 1e-3 * (1.0 - step as f64 / 400.0),
            grad_norm: 0.5 + (step * 31 % 17) as f64 / 20.0,
            tokens: 2048,
            seconds: 0.5,
            memory_bytes: 13 << 30,
        }
    }

    #[test]
    fn time_left_is_known_from_the_first_step() {
        assert_eq!(state(0).left(), None);
        let left = state(1).left().unwrap_or(0.0);
        assert!((left - 199.5).abs() < 1e-6, "{left}");
        let left = state(300).left().unwrap_or(0.0);
        assert!((left - 50.0).abs() < 1e-6, "{left}");
        assert_eq!(state(400).left(), Some(0.0));
    }

    #[test]
    fn history_is_taken_up_after_a_resume() {
        let history = History {
            steps: (1..=50).map(record).collect(),
            validations: vec![EvalRecord {
                step: 40,
                loss: 0.5,
                ..EvalRecord::default()
            }],
        };
        let mut run = state(0).run;
        run.done_steps = 50;
        let mut state = State::new(run, &history);
        assert_eq!((state.step(), state.unsaved_steps()), (50, 0));
        assert_eq!(state.loss.stretches().len(), 50);
        assert_eq!(state.eval_loss.smooth(), Some(0.5));
        assert_eq!(state.left(), None);
        let next = record(51);
        state.notice(&Event::Step(&next), Duration::from_secs(9));
        assert_eq!((state.step(), state.unsaved_steps()), (51, 1));
        assert!(state.left().is_some_and(|left| left < 349.0 * 0.5 + 1e-6));
    }

    #[test]
    fn notes_are_single_lines_without_controls() {
        let mut state = state(1);
        state.note("one\n\x1b[33;1mtw\u{7}o\x1b[0m");
        assert_eq!(state.notes, ["one", "two"]);
        (0..500).for_each(|index| state.note(&index.to_string()));
        assert_eq!(state.notes.len(), NOTES);
    }
}

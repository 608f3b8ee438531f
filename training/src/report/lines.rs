//! Progress as plain lines, for logs and pipes.

use std::time::{Duration, Instant};

use super::StepRecord;
use crate::observer::{Event, Observer, RunDescription};

/// The finite values since the last line: a step that was left out has no gradient norm.
#[derive(Default)]
struct Mean {
    total: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.total += value;
            self.count += 1;
        }
    }

    fn value(&self) -> f64 {
        self.total / self.count as f64
    }
}

#[derive(Default)]
struct Means {
    loss: Mean,
    grad_norm: Mean,
    speed: Mean,
}

/// Prints one line every few steps; loss, gradient norm and speed are means over those steps. Prints notes
/// as they come.
pub struct Lines<P> {
    /// Steps between two lines.
    every: u64,
    print: P,
    run: RunDescription,
    means: Means,
    /// When the first step was done, and its number.
    first: Option<(Instant, u64)>,
}

impl<P: FnMut(&str)> Lines<P> {
    /// Gives `print` a line every `every` steps and at the last one.
    pub fn new(every: u64, print: P) -> Self {
        Self {
            every: every.max(1),
            print,
            run: RunDescription::default(),
            means: Means::default(),
            first: None,
        }
    }

    fn step(&mut self, record: &StepRecord) {
        self.means.loss.add(record.loss);
        self.means.grad_norm.add(record.grad_norm);
        self.means.speed.add(record.speed());
        let (started, first) = *self.first.get_or_insert((Instant::now(), record.step));
        let (step, total) = (record.step, self.run.total_steps);
        if !step.is_multiple_of(self.every) && step != total {
            return;
        }
        let done = step.saturating_sub(first);
        let left = (done > 0).then(|| {
            let each = started.elapsed().as_secs_f64() / done as f64;
            each * total.saturating_sub(step) as f64
        });
        let line = self.line(record, left);
        (self.print)(&line);
        self.means = Means::default();
    }

    fn line(&self, record: &StepRecord, left: Option<f64>) -> String {
        let left = left.map_or(String::new(), |left| format!("  {} left", clock(left)));
        format!(
            "step {}/{}  epoch {}  loss {:.4}  lr {:.3e}  grad_norm {:.3}  {:.0} tokens/s  \
             {:.2} GiB{left}",
            record.step,
            self.run.total_steps,
            record.epoch,
            self.means.loss.value(),
            record.lr,
            self.means.grad_norm.value(),
            self.means.speed.value(),
            record.memory_gib(),
        )
    }
}

/// Hours, minutes and seconds.
pub fn clock(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_secs());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

impl<P: FnMut(&str)> Observer for Lines<P> {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(run) => self.run = (*run).clone(),
            Event::Step(record) => self.step(record),
            Event::Evaluated(record) => (self.print)(&record.line()),
            Event::Note(text) => (self.print)(text),
            Event::Saved(_, path) => (self.print)(&format!("saved {}", path.display())),
            Event::Ability(_) | Event::EpochEnd(_) | Event::Finished(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_line_every_few_steps_and_at_the_last() {
        let printed = Rc::new(RefCell::new(Vec::new()));
        let sink = printed.clone();
        let mut lines = Lines::new(3, move |line: &str| {
            sink.borrow_mut().push(line.to_string());
        });
        lines.notice(&Event::Started(&RunDescription {
            total_steps: 5,
            epochs: 1,
            ..RunDescription::default()
        }));
        for step in 1..=5 {
            let record = StepRecord {
                step,
                epoch: 1,
                loss: if step == 2 { f64::NAN } else { step as f64 },
                ..StepRecord::default()
            };
            lines.notice(&Event::Step(&record));
        }
        let printed = printed.borrow();
        assert_eq!(printed.len(), 2, "{printed:?}");
        assert!(printed[0].starts_with("step 3/5  epoch 1  loss 2.0000 "));
        assert!(printed[0].ends_with(" left"));
        assert!(printed[1].starts_with("step 5/5  epoch 1  loss 4.5000 "));
    }

    #[test]
    fn clocks() {
        assert_eq!(clock(59.9), "0:00:59");
        assert_eq!(clock(3661.0), "1:01:01");
        assert_eq!(clock(f64::NAN), "0:00:00");
        assert_eq!(clock(f64::INFINITY), "0:00:00");
    }
}

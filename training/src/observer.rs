//! Who watches a training: files, lines and dashboards learn of it by events, and can ask it to stop.
//!
//! The loop knows observers by this trait alone. What an observer cannot write is its own trouble: it says
//! so and the training goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::report::{AbilityRecord, EvalRecord, StepRecord};
use crate::run::Outcome;

/// What a run is called where it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLabels {
    /// The run: its output directory.
    pub run: String,
    /// The model that it starts from.
    pub model: String,
    /// What is trained, such as `lora, rank 8`.
    pub method: String,
    /// The devices, as a person knows them.
    pub devices: Vec<String>,
    /// Elements of all parameters.
    pub parameters: usize,
}

/// What is known of a run when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunDescription {
    /// Its names.
    pub labels: RunLabels,
    /// Elements of the trained parameters.
    pub trained: usize,
    /// Steps that the run will have taken at its end, those before a resume included.
    pub total_steps: u64,
    /// Epochs that it will have taken.
    pub epochs: usize,
    /// Steps that were done before a resume.
    pub done_steps: u64,
}

/// What happens in a training.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The first step is about to be taken.
    Started(&'a RunDescription),
    /// A step is done.
    Step(&'a StepRecord),
    /// The model was measured on the rows that are held out.
    Evaluated(&'a EvalRecord),
    /// What the model can do of an ability was measured.
    Ability(&'a AbilityRecord),
    /// An epoch is done; counted from 1.
    EpochEnd(usize),
    /// Something worth a line has happened.
    Note(&'a str),
    /// An output and a checkpoint were written after a step.
    Saved(u64, &'a Path),
    /// The last step is done and everything is on the disk.
    Finished(&'a Outcome),
}

/// What an observer asks of a training; the greatest wish counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Request {
    /// To go on.
    #[default]
    GoOn,
    /// To write a checkpoint after the step at hand, and to stop.
    SaveAndStop,
    /// To stop after the step at hand without a checkpoint.
    Discard,
}

/// Who watches a training.
pub trait Observer {
    /// Something has happened.
    fn notice(&mut self, event: &Event<'_>);

    /// What is to happen after the step at hand.
    fn request(&self) -> Request {
        Request::GoOn
    }

    /// Passes a line on.
    fn note(&mut self, text: &str) {
        self.notice(&Event::Note(text));
    }
}

/// Several observers as one; each learns of an event in the order in which they were added.
#[derive(Default)]
pub struct Observers {
    all: Vec<Box<dyn Observer>>,
}

impl Observers {
    /// Adds an observer.
    pub fn add(&mut self, observer: impl Observer + 'static) {
        self.all.push(Box::new(observer));
    }
}

impl Observer for Observers {
    fn notice(&mut self, event: &Event<'_>) {
        self.all
            .iter_mut()
            .for_each(|observer| observer.notice(event));
    }

    fn request(&self) -> Request {
        let requests = self.all.iter().map(|observer| observer.request());
        requests.max().unwrap_or_default()
    }
}

/// A request that any thread can make: a handler of signals, or a key.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicU8>);

impl StopSignal {
    /// Makes the request, unless a greater one was made.
    pub fn ask(&self, request: Request) {
        self.0.fetch_max(request as u8, Ordering::SeqCst);
    }
}

impl Observer for StopSignal {
    fn notice(&mut self, _: &Event<'_>) {}

    fn request(&self) -> Request {
        match self.0.load(Ordering::SeqCst) {
            0 => Request::GoOn,
            1 => Request::SaveAndStop,
            _ => Request::Discard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_wish_counts() {
        let (first, second) = (StopSignal::default(), StopSignal::default());
        let mut all = Observers::default();
        all.add(first.clone());
        all.add(second.clone());
        assert_eq!(all.request(), Request::GoOn);
        second.ask(Request::Discard);
        second.ask(Request::SaveAndStop);
        assert_eq!(all.request(), Request::Discard);
        first.ask(Request::SaveAndStop);
        assert_eq!(first.request(), Request::SaveAndStop);
    }
}

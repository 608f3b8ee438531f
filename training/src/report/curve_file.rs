//! `loss.svg`: the curve of a run, drawn anew whenever something is saved.

use std::path::{Path, PathBuf};

use super::{EvalRecord, History, StepRecord, write_curve};
use crate::observer::{Event, Observer};

/// Name of the picture in the output directory.
const FILE: &str = "loss.svg";

/// The picture and its points.
#[derive(Debug)]
pub struct CurveFile {
    path: PathBuf,
    /// Step, loss and learning rate.
    points: Vec<(u64, f32, f32)>,
    /// Step and loss of the validations.
    held_out: Vec<(u64, f32)>,
}

impl CurveFile {
    /// The picture of an output directory; `history` is what came before a resume.
    pub fn new(output_dir: &Path, history: &History) -> Self {
        Self {
            path: output_dir.join(FILE),
            points: history.steps.iter().map(point).collect(),
            held_out: history.validations.iter().map(held_out).collect(),
        }
    }

    fn draw(&self) {
        // The numbers are in metrics.jsonl; a training does not end for want of a picture.
        if let Err(error) = write_curve(&self.path, &self.points, &self.held_out) {
            tracing::warn!("the curve is not drawn: {error}");
        }
    }
}

fn point(record: &StepRecord) -> (u64, f32, f32) {
    (record.step, record.loss as f32, record.lr as f32)
}

fn held_out(record: &EvalRecord) -> (u64, f32) {
    (record.step, record.loss as f32)
}

impl Observer for CurveFile {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(record) => self.points.push(point(record)),
            Event::Evaluated(record) => self.held_out.push(held_out(record)),
            Event::Saved(..) | Event::Finished(_) => self.draw(),
            _ => {}
        }
    }
}

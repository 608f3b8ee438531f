//! `loss.svg`: the curve of a run, drawn anew whenever something is saved.

use std::path::{Path, PathBuf};

use super::{StepRecord, write_curve};
use crate::observer::{Event, Observer, Split};

/// Name of the picture in the output directory.
const FILE: &str = "loss.svg";

/// The picture and its points.
#[derive(Debug)]
pub struct CurveFile {
    path: PathBuf,
    /// Step, loss and learning rate.
    points: Vec<(u64, f32, f32)>,
}

impl CurveFile {
    /// The picture of an output directory; `history` are the steps before a resume.
    pub fn new(output_dir: &Path, history: &[StepRecord]) -> Self {
        Self {
            path: output_dir.join(FILE),
            points: history.iter().map(point).collect(),
        }
    }

    fn draw(&self) {
        // The numbers are in metrics.jsonl; a training does not end for want of a picture.
        if let Err(error) = write_curve(&self.path, &self.points) {
            tracing::warn!("the curve is not drawn: {error}");
        }
    }
}

fn point(record: &StepRecord) -> (u64, f32, f32) {
    (record.step, record.loss as f32, record.lr as f32)
}

impl Observer for CurveFile {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(Split::Train, record) => self.points.push(point(record)),
            Event::Saved(..) | Event::Finished(_) => self.draw(),
            _ => {}
        }
    }
}

//! `metrics.jsonl`: one line per optimizer step, never two of one step.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;
use serde_json::Value;

use super::StepRecord;
use crate::error::Result;

/// Name of the file in the output directory.
const FILE: &str = "metrics.jsonl";

/// The file, open at its end.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    /// Step, loss and learning rate of every step so far, for the curve.
    points: Vec<(u64, f32, f32)>,
}

impl MetricsFile {
    /// Opens the file of an output directory and keeps the lines up to a step: those after it are of steps
    /// that a resumed run takes again, and a last line may be torn.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(output_dir: &Path, kept_steps: u64) -> Result<Self> {
        let path = output_dir.join(FILE);
        let (mut text, mut points) = (String::new(), Vec::new());
        if path.exists() {
            let old = fs::read_to_string(&path)
                .map_err(|error| glmtune_model::Error::io(&path, error))?;
            for line in old.lines() {
                let Some(point) = point(line).filter(|point| point.0 <= kept_steps) else {
                    continue;
                };
                points.push(point);
                text.push_str(line);
                text.push('\n');
            }
        }
        AtomicFile::write(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|error| glmtune_model::Error::io(&path, error))?;
        Ok(Self { path, file, points })
    }

    /// Appends a step.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn append(&mut self, record: &StepRecord) -> Result<()> {
        let mut line = serde_json::to_vec(record)
            .map_err(|error| glmtune_model::Error::json(&self.path, error))?;
        line.push(b'\n');
        // One write: a killed process leaves whole lines.
        let written = self.file.write_all(&line);
        written.map_err(|error| glmtune_model::Error::io(&self.path, error))?;
        self.points
            .push((record.step, record.loss as f32, record.lr as f32));
        Ok(())
    }

    /// Step, loss and learning rate of every step so far.
    pub fn points(&self) -> &[(u64, f32, f32)] {
        &self.points
    }
}

fn point(line: &str) -> Option<(u64, f32, f32)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| {
        value[name]
            .as_f64()
            .map_or(f32::NAN, |number| number as f32)
    };
    Some((value["step"].as_u64()?, number("loss"), number("lr")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 1,
            loss: 1.0 / step as f64,
            lr: 1e-3,
            grad_norm: 1.0,
            tokens: 10,
            seconds: 0.5,
            memory_bytes: 1,
        }
    }

    #[test]
    fn a_resumed_run_takes_up_after_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(folder.path(), 0).unwrap();
        (1..=5).for_each(|step| file.append(&record(step)).unwrap());
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"step\": 6, \"lo")).unwrap();
        let mut file = MetricsFile::open(folder.path(), 3).unwrap();
        file.append(&record(4)).unwrap();
        let expected: String = whole
            .lines()
            .take(4)
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(file.points().len(), 4);
    }
}

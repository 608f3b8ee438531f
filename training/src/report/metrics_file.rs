//! `metrics.jsonl`: one line per optimizer step, never two of one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;

use super::StepRecord;
use crate::error::Result;
use crate::observer::{Event, Observer, Split};

/// Name of the file in the output directory.
const FILE: &str = "metrics.jsonl";
/// More than the longest line of a step; what is longer was not written by glmtune.
const LONGEST_LINE: u64 = 4096;

/// The file, open at its end.
///
/// A line that the disk refuses is kept and tried again with the next step, so that a disk that was full
/// for a while leaves no gap.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines on the disk.
    length: u64,
    /// Lines that are not on the disk yet.
    waiting: Vec<u8>,
    has_warned: bool,
}

impl MetricsFile {
    /// Opens the file of an output directory and keeps the lines up to a step: those after it are of steps
    /// that a resumed run takes again, and a last line may be torn. Gives the steps that were kept.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(output_dir: &Path, kept_steps: u64) -> Result<(Self, Vec<StepRecord>)> {
        let path = output_dir.join(FILE);
        let failed = |error| glmtune_model::Error::io(&path, error);
        let (text, records) = kept_lines(&path, kept_steps).map_err(failed)?;
        AtomicFile::write(&path, &text)?;
        let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        let metrics = Self {
            file,
            length: text.len() as u64,
            waiting: Vec::new(),
            has_warned: false,
            path: path.clone(),
        };
        Ok((metrics, records))
    }

    fn append(&mut self, record: &StepRecord) {
        match serde_json::to_vec(record) {
            Ok(line) => self.waiting.extend(line.into_iter().chain([b'\n'])),
            Err(error) => tracing::warn!("{}: {error}", self.path.display()),
        }
        self.write();
    }

    fn write(&mut self) {
        match self.try_write() {
            Ok(()) => self.has_warned = false,
            Err(error) if !self.has_warned => {
                self.has_warned = true;
                tracing::warn!(
                    "{}: {error}; the training goes on, and the lines follow once there is room",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        // One write: a killed process leaves whole lines.
        if let Err(error) = self.file.write_all(&self.waiting) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl Observer for MetricsFile {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(Split::Train, record) => self.append(record),
            Event::Finished(_) if !self.waiting.is_empty() => self.write(),
            _ => {}
        }
    }
}

/// The lines up to a step, as they are and as records; none where there is no file.
fn kept_lines(path: &Path, kept_steps: u64) -> io::Result<(Vec<u8>, Vec<StepRecord>)> {
    let (mut text, mut records) = (Vec::new(), Vec::new());
    let file = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => BufReader::new(File::open(path)?),
        Ok(_) => return Err(io::Error::other("is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((text, records)),
        Err(error) => return Err(error),
    };
    for line in short_lines(file) {
        let line = line?;
        let record = serde_json::from_slice::<StepRecord>(&line);
        let last = records.last().map_or(0, |record: &StepRecord| record.step);
        if let Ok(record) = record
            && (last + 1..=kept_steps).contains(&record.step)
        {
            records.push(record);
            text.extend(line);
        }
    }
    Ok((text, records))
}

/// Whole lines of a reader with their ends; what is longer than a line can be comes in pieces.
fn short_lines(mut reader: impl BufRead) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let mut limited = reader.by_ref().take(LONGEST_LINE);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => None,
            // A torn last line.
            Ok(_) if line.last() != Some(&b'\n') && (line.len() as u64) < LONGEST_LINE => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    })
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
        let (mut file, _) = MetricsFile::open(folder.path(), 0).unwrap();
        (1..=5).for_each(|step| file.append(&record(step)));
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"step\": 6, \"lo")).unwrap();
        let (mut file, records) = MetricsFile::open(folder.path(), 3).unwrap();
        assert_eq!(records, [1, 2, 3].map(record));
        file.append(&record(4));
        let expected: String = whole
            .lines()
            .take(4)
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn lines_that_are_not_ours_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let lines = [
            b"{\"step\": 1, \"loss\": null}\n".to_vec(),
            b"\xff\xfe\n".to_vec(),
            vec![b'x'; 3 * LONGEST_LINE as usize],
            b"\n{\"step\": 1}\n".to_vec(),
            b"{\"step\": 2, \"loss\": 0.5, \"more\": []}\n{\"step\": 3}".to_vec(),
        ];
        fs::write(&path, lines.concat()).unwrap();
        let (_, records) = MetricsFile::open(folder.path(), 9).unwrap();
        let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 2]);
        assert!(records[0].loss.is_nan());
        assert_eq!(records[1].loss, 0.5);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_nothing_and_leaves_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = MetricsFile::open(folder.path(), 0).unwrap();
        file.append(&record(1));
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let whole = std::mem::replace(&mut file.file, full);
        file.append(&record(2));
        file.file = whole;
        file.append(&record(3));
        let (_, records) = MetricsFile::open(folder.path(), 9).unwrap();
        assert_eq!(records, [1, 2, 3].map(record));
    }
}

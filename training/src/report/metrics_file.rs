//! `metrics.jsonl`: one line per optimizer step, never two of one step; and one per validation and ability, which
//! have a key `split`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;

use serde::{Deserialize, Serialize};

use super::{AbilityRecord, EvalRecord, StepRecord};
use crate::error::Result;
use crate::observer::{Event, Observer};

/// Name of the file in the output directory.
const FILE: &str = "metrics.jsonl";
/// More than the longest line; what is longer was not written by glmtune.
const LONGEST_LINE: u64 = 1 << 16;

/// What a training has told so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Its validations.
    pub validations: Vec<EvalRecord>,
}

/// A line that is not of a step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "split", rename_all = "lowercase")]
enum OfSplit<T, U> {
    /// Of the rows that are held out.
    Eval(T),
    /// Of the rows that test what a model can do beside its task.
    General(U),
}

/// As it is written.
type Written<'a> = OfSplit<&'a EvalRecord, &'a AbilityRecord>;
/// As it is read.
type Known = OfSplit<EvalRecord, AbilityRecord>;

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
    /// that a resumed run takes again, and a last line may be torn. Gives what was kept.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(output_dir: &Path, kept_steps: u64) -> Result<(Self, History)> {
        let path = output_dir.join(FILE);
        let failed = |error| glmtune_model::Error::io(&path, error);
        let (text, history) = kept_lines(&path, kept_steps).map_err(failed)?;
        AtomicFile::write(&path, &text)?;
        let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        let metrics = Self {
            file,
            length: text.len() as u64,
            waiting: Vec::new(),
            has_warned: false,
            path: path.clone(),
        };
        Ok((metrics, history))
    }

    fn append(&mut self, record: &impl Serialize) {
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
            Event::Step(record) => self.append(record),
            Event::Evaluated(record) => self.append(&Written::Eval(record)),
            Event::Ability(record) => self.append(&Written::General(record)),
            Event::Finished(_) if !self.waiting.is_empty() => self.write(),
            _ => {}
        }
    }
}

/// The lines up to a step, as they are and as records; none where there is no file.
fn kept_lines(path: &Path, kept_steps: u64) -> io::Result<(Vec<u8>, History)> {
    let (mut text, mut history) = (Vec::new(), History::default());
    let file = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => BufReader::new(File::open(path)?),
        Ok(_) => return Err(io::Error::other("is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((text, history)),
        Err(error) => return Err(error),
    };
    for line in short_lines(file) {
        let line = line?;
        if history.take(&line, kept_steps) {
            text.extend(line);
        }
    }
    Ok((text, history))
}

impl History {
    /// Takes in a line that is one of ours, of a step up to the last that is kept.
    fn take(&mut self, line: &[u8], kept_steps: u64) -> bool {
        match serde_json::from_slice::<Known>(line) {
            Ok(Known::Eval(record)) => self.take_validation(record, kept_steps),
            Ok(Known::General(record)) => record.step <= kept_steps,
            Err(_) => self.take_step(line, kept_steps),
        }
    }

    fn take_step(&mut self, line: &[u8], kept_steps: u64) -> bool {
        let last = self.steps.last().map_or(0, |record| record.step);
        let record = serde_json::from_slice::<StepRecord>(line).ok();
        let record = record.filter(|record| (last + 1..=kept_steps).contains(&record.step));
        self.steps.extend(record);
        record.is_some()
    }

    fn take_validation(&mut self, record: EvalRecord, kept_steps: u64) -> bool {
        let last = self.validations.last().map_or(0, |record| record.step);
        let is_kept = (last + 1..=kept_steps).contains(&record.step);
        if is_kept {
            self.validations.push(record);
        }
        is_kept
    }
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
    use crate::report::When;

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
        let (mut file, history) = MetricsFile::open(folder.path(), 3).unwrap();
        assert_eq!(history.steps, [1, 2, 3].map(record));
        file.append(&record(4));
        let expected: String = whole
            .lines()
            .take(4)
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn validations_and_abilities_stand_between_the_steps() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = MetricsFile::open(folder.path(), 0).unwrap();
        let validation = |step: u64| EvalRecord {
            step,
            loss: 0.5,
            score: (step == 4).then_some(0.25),
            ..EvalRecord::default()
        };
        let ability = |step: u64, when: When| AbilityRecord {
            step,
            when,
            ability: "copy".to_string(),
            loss: 1.5,
            score: None,
            rows: 2,
            targets: 3,
        };
        file.notice(&Event::Ability(&ability(0, When::Before)));
        for step in 1..=4 {
            file.notice(&Event::Step(&record(step)));
            if step % 2 == 0 {
                file.notice(&Event::Evaluated(&validation(step)));
            }
        }
        file.notice(&Event::Ability(&ability(4, When::After)));
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        assert!(lines[0].starts_with(r#"{"split":"general","step":0,"when":"before""#));
        assert!(lines[1].starts_with(r#"{"step":1,"#));
        assert!(lines[3].starts_with(r#"{"split":"eval","step":2,"#));
        assert_eq!(lines.len(), 8);
        let (_, history) = MetricsFile::open(folder.path(), 3).unwrap();
        assert_eq!(history.steps, [1, 2, 3].map(record));
        assert_eq!(history.validations, [validation(2)]);
        let kept: String = lines[..5].iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
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
        let (_, history) = MetricsFile::open(folder.path(), 9).unwrap();
        let steps: Vec<u64> = history.steps.iter().map(|record| record.step).collect();
        assert_eq!(steps, [1, 2]);
        assert!(history.steps[0].loss.is_nan());
        assert_eq!(history.steps[1].loss, 0.5);
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
        let (_, history) = MetricsFile::open(folder.path(), 9).unwrap();
        assert_eq!(history.steps, [1, 2, 3].map(record));
    }
}

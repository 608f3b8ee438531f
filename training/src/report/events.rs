//! TensorBoard event files.
//!
//! A file is a sequence of TFRecords (length, checksum of the length, payload, checksum of the payload),
//! each holding one `Event` message of TensorFlow's `event.proto`, of which only the fields needed for
//! scalars are declared here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::process::host_name;
use prost::Message;

use crate::error::Result;

/// What the first record of every event file says.
const FILE_VERSION: &str = "brain.Event:2";

/// What the names of glmtune's event files begin and end with.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".glmtune";

/// More than any record of glmtune's.
const LONGEST_RECORD: u64 = 1 << 20;

/// How many names are tried where a file of this process and second exists.
const ATTEMPTS: u64 = 100;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Unix time in seconds.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.START`: what was read of this step and later ones is void.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Part of a oneof, so that a zero has to be written too: hence the option.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes one event file. What was written is on its way to the disk after [`flush`](Self::flush).
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts `events.out.tfevents.<seconds>.<host>.<pid>.glmtune` in `dir`, which is made if missing.
    /// An existing file is never touched: where the name is taken, the next free second is used.
    ///
    /// # Errors
    /// If the directory or the file cannot be written.
    pub fn create(dir: &Path, now_unix_seconds: f64) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| glmtune_model::Error::io(dir, error))?;
        let (file, path) = create_file(dir, now_unix_seconds)?;
        let mut writer = Self {
            path,
            file: BufWriter::new(file),
        };
        writer.record(&Event {
            wall_time: now_unix_seconds,
            file_version: Some(FILE_VERSION.to_string()),
            ..Event::default()
        })?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells a TensorBoard that is watching to forget what it has read of `step` and later ones.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn resumed(&mut self, step: u64, wall_time: f64) -> Result<()> {
        self.record(&Event {
            wall_time,
            step: i64::try_from(step).unwrap_or(i64::MAX),
            session_log: Some(SessionLog { status: START }),
            ..Event::default()
        })
    }

    /// Adds one point to the series `tag`; `wall_time` is Unix time in seconds.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, step: u64, wall_time: f64, tag: &str, value: f32) -> Result<()> {
        let scalar = Scalar {
            tag: tag.to_string(),
            simple_value: Some(value),
        };
        self.record(&Event {
            wall_time,
            step: i64::try_from(step).unwrap_or(i64::MAX),
            summary: Some(Summary {
                value: vec![scalar],
            }),
            ..Event::default()
        })
    }

    /// Hands what was written to the operating system, so that a running TensorBoard sees it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        Ok(flushed.map_err(|error| glmtune_model::Error::io(&self.path, error))?)
    }

    fn record(&mut self, event: &Event) -> Result<()> {
        let written = self.file.write_all(&frame(&event.encode_to_vec()));
        Ok(written.map_err(|error| glmtune_model::Error::io(&self.path, error))?)
    }
}

/// `payload` as a TFRecord.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc(payload).to_le_bytes());
    record
}

/// CRC-32C as TFRecords store it: rotated and shifted, so that the checksum of data that holds
/// checksums itself stays meaningful.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Removes from glmtune's event files in `dir` what they hold of steps after `step`, and files of which
/// nothing is left. What cannot be read as an event ends a file, as it does for TensorBoard.
///
/// # Errors
/// If a file cannot be read or replaced.
pub(super) fn keep_steps(dir: &Path, step: u64) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(glmtune_model::Error::io(dir, error).into()),
    };
    for entry in entries {
        let entry = entry.map_err(|error| glmtune_model::Error::io(dir, error))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let is_ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if is_file && entry.file_name().to_str().is_some_and(is_ours) {
            cut(&entry.path(), step)?;
        }
    }
    Ok(())
}

/// Removes from one file what it holds of steps after `step`.
fn cut(path: &Path, step: u64) -> Result<()> {
    let failed = |error| glmtune_model::Error::io(path, error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut kept = AtomicFile::create(path)?;
    let (mut points, mut is_whole) = (0u64, true);
    while let Some(payload) = read_record(&mut reader).map_err(failed)? {
        let Ok(event) = Event::decode(payload.as_slice()) else {
            is_whole = false;
            break;
        };
        let is_point = event.summary.is_some();
        if is_point && u64::try_from(event.step).is_ok_and(|at| at > step) {
            is_whole = false;
            continue;
        }
        points += u64::from(is_point);
        kept.write_all(&frame(&payload)).map_err(failed)?;
    }
    match (points, is_whole) {
        (0, _) => Ok(fs::remove_file(path).map_err(failed)?),
        (_, true) => Ok(()),
        (_, false) => Ok(kept.commit()?),
    }
}

/// The next record's payload; none at the end, or where what follows is torn or damaged.
fn read_record(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = read_exactly(reader, 12)? else {
        return Ok(None);
    };
    let (length, checksum) = head.split_at(8);
    let size = length
        .iter()
        .rev()
        .fold(0u64, |size, &byte| size << 8 | u64::from(byte));
    if checksum != masked_crc(length).to_le_bytes() || size > LONGEST_RECORD {
        return Ok(None);
    }
    let Some(mut payload) = read_exactly(reader, size as usize + 4)? else {
        return Ok(None);
    };
    let checksum = payload.split_off(size as usize);
    let is_sound = checksum == masked_crc(&payload).to_le_bytes();
    Ok(is_sound.then_some(payload))
}

/// So many bytes; none where fewer are left.
fn read_exactly(reader: &mut impl Read, count: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(count);
    reader.take(count as u64).read_to_end(&mut bytes)?;
    Ok((bytes.len() == count).then_some(bytes))
}

fn create_file(dir: &Path, now_unix_seconds: f64) -> Result<(File, PathBuf)> {
    // Saturates: a clock before 1970 gives 0.
    let (first, host, process) = (now_unix_seconds as u64, host_name(), std::process::id());
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for second in first..first.saturating_add(ATTEMPTS) {
        let path = dir.join(format!("{PREFIX}{second:010}.{host}.{process}{SUFFIX}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(error) => return Err(glmtune_model::Error::io(&path, error).into()),
        }
    }
    Err(glmtune_model::Error::io(dir, taken).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// A loss of 2.5 at step 7, as TensorBoard's own `RecordWriter` and messages write it.
    const LOSS_RECORD: &str = "200000000000000029eda9500900006040fc54d94110072a130a110a0a747261\
                               696e2f6c6f73731500002040ecdd017c";
    /// A rate of 0 at step 0 by the same: the step is left out, the value is not.
    const ZERO_RECORD: &str =
        "16000000000000004f61be280900006040fc54d9412a0b0a090a026c721500000000d5013b37";
    /// The version record at 1700000000.25 by the same.
    const VERSION_RECORD: &str =
        "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decode(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let payload = &bytes[12..12 + length];
            assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
            let end = 16 + length;
            assert_eq!(bytes[end - 4..end], masked_crc(payload).to_le_bytes());
            events.push(Event::decode(payload).unwrap());
            bytes = &bytes[end..];
        }
        events
    }

    #[test]
    fn bytes_are_those_of_tensorboard() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), 1_700_000_000.25).unwrap();
        let time = 1_700_000_001.5;
        writer.scalar(7, time, "train/loss", 2.5).unwrap();
        writer.scalar(0, time, "lr", 0.0).unwrap();
        writer.flush().unwrap();
        let expected = [VERSION_RECORD, LOSS_RECORD, ZERO_RECORD].concat();
        assert_eq!(hex(&fs::read(writer.path()).unwrap()), expected);
    }

    #[test]
    fn a_file_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(&dir.path().join("runs"), 12.0).unwrap();
        let path = writer.path().to_path_buf();
        for step in [1, 2, u64::MAX] {
            writer.scalar(step, 13.0, "损失", f32::INFINITY).unwrap();
        }
        drop(writer);
        let events = decode(&fs::read(&path).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some(FILE_VERSION));
        let steps: Vec<_> = events.iter().map(|event| event.step).collect();
        assert_eq!(steps, [0, 1, 2, i64::MAX]);
        let scalar = &events[3].summary.as_ref().unwrap().value[0];
        assert_eq!(scalar.tag, "损失");
        assert_eq!(scalar.simple_value, Some(f32::INFINITY));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents.0000000012."));
        assert!(name.ends_with(&format!(".{}.glmtune", std::process::id())));
    }

    /// Steps of all points in a folder's files.
    fn steps(dir: &Path) -> Vec<i64> {
        let files = fs::read_dir(dir).unwrap();
        let events = files.flat_map(|file| decode(&fs::read(file.unwrap().path()).unwrap()));
        let mut steps: Vec<i64> = events
            .filter(|event| event.summary.is_some())
            .map(|event| event.step)
            .collect();
        steps.sort_unstable();
        steps
    }

    #[test]
    fn later_steps_and_torn_ends_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |second: f64, steps: std::ops::RangeInclusive<u64>| {
            let mut writer = EventWriter::create(dir.path(), second).unwrap();
            steps.for_each(|step| writer.scalar(step, second, "loss", 1.0).unwrap());
            writer.flush().unwrap();
            writer.path().to_path_buf()
        };
        let first = write(10.0, 1..=4);
        write(11.0, 5..=8);
        let mut bytes = fs::read(&first).unwrap();
        bytes.extend(&bytes.clone()[..20]);
        fs::write(&first, bytes).unwrap();
        fs::write(dir.path().join("events.out.tfevents.1.other"), "not ours").unwrap();
        keep_steps(dir.path(), 3).unwrap();
        fs::remove_file(dir.path().join("events.out.tfevents.1.other")).unwrap();
        assert_eq!(steps(dir.path()), [1, 2, 3]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        keep_steps(&dir.path().join("missing"), 3).unwrap();
    }

    #[test]
    fn an_older_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = EventWriter::create(dir.path(), 12.0).unwrap();
        let second = EventWriter::create(dir.path(), 12.0).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(EventWriter::create(first.path(), 12.0).is_err());
    }
}

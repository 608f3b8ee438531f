//! Reading files that somebody else made: opened once, regular, and no longer than such a file can be.
//!
//! A path is opened before it is looked at, so that what was checked is what is read. Nothing here blocks
//! on a FIFO or reads a device to its end, and no memory is asked for by a size alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Bytes that are asked for at a time where a file is read whole.
const CHUNK: usize = 1 << 16;

/// The most that is read of a kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What such a file is, for messages: "a settings file".
    pub what: &'static str,
    /// The most bytes that it can have.
    pub bytes: u64,
}

impl Limit {
    /// JSON and TOML that people or programs write: `config.json`, `adapter_config.json`, a DeepSpeed file.
    pub const SETTINGS: Self = Self::new("a settings file", 4 << 20);
    /// The index of a checkpoint in several files; ChatGLM-6B's has 30 KB.
    pub const INDEX: Self = Self::new("an index of weights", 32 << 20);
    /// The state of a training beside its tensors.
    pub const STATE: Self = Self::new("the state of a training", 4 << 20);
    /// A line per step of a training; a million steps have some 200 MB.
    pub const METRICS: Self = Self::new("a file of metrics", 1 << 30);
    /// A saved conversation.
    pub const CONVERSATION: Self = Self::new("a saved conversation", 64 << 20);
    /// The text of a prompt.
    pub const PROMPT: Self = Self::new("a prompt", 16 << 20);
    /// A row of a data file: one of a million ids with their labels has some 14 MB.
    pub const ROW: Self = Self::new("a row", 16 << 20);
    /// Text and code that lie beside the weights of a model.
    pub const SIDE_FILE: Self = Self::new("a file beside the weights", 256 << 20);

    /// A limit of a kind that stands for itself.
    pub const fn new(what: &'static str, bytes: u64) -> Self {
        Self { what, bytes }
    }

    fn exceeded(self, path: &Path, size: Option<u64>) -> Error {
        Error::TooLarge {
            path: path.to_path_buf(),
            what: self.what,
            limit: self.bytes,
            size,
        }
    }
}

/// Opens a regular file for reading, with its length.
///
/// # Errors
/// [`Error::NotRegular`] for a directory, a FIFO or a device; [`Error::Io`].
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let (file, metadata) = open(path)
        .and_then(|file| file.metadata().map(|metadata| (file, metadata)))
        .map_err(|error| unopened(path, error))?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(not_regular(path, metadata.file_type())),
    }
}

/// Opens something that is read once from its start: a file, a pipe or a device. A FIFO waits for its
/// writer, as it does in every program.
///
/// # Errors
/// [`Error::NotRegular`] for a directory; [`Error::Io`].
pub fn open_stream(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| unopened(path, error))?;
    let metadata = file.metadata().map_err(|error| Error::io(path, error))?;
    match metadata.is_dir() {
        true => Err(not_regular(path, metadata.file_type())),
        false => Ok(file),
    }
}

/// Opens without waiting for the other end of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32);
    }
    options.open(path)
}

/// A socket cannot be opened at all, and a directory not on every system.
fn unopened(path: &Path, error: io::Error) -> Error {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => not_regular(path, metadata.file_type()),
        _ => Error::io(path, error),
    }
}

fn not_regular(path: &Path, kind: std::fs::FileType) -> Error {
    Error::NotRegular {
        path: path.to_path_buf(),
        kind: kind_name(kind),
    }
}

#[cfg(unix)]
fn kind_name(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind_name(kind: std::fs::FileType) -> &'static str {
    match kind.is_dir() {
        true => "a directory",
        false => "something else",
    }
}

/// Reads a regular file whole.
///
/// # Errors
/// [`Error::NotRegular`], [`Error::TooLarge`] or [`Error::Io`].
pub fn read(path: &Path, limit: Limit) -> Result<Vec<u8>> {
    let (mut file, len) = open_regular(path)?;
    if len > limit.bytes {
        return Err(limit.exceeded(path, Some(len)));
    }
    read_stream(&mut file, path, limit)
}

/// The same of a file that need not be there.
///
/// # Errors
/// As [`read`], but for a file that is missing.
pub fn read_if_present(path: &Path, limit: Limit) -> Result<Option<Vec<u8>>> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads to the end of something that may be a pipe or have no end; `path` is for messages.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Io`].
pub fn read_stream(stream: &mut dyn Read, path: &Path, limit: Limit) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let room = (limit.bytes - bytes.len() as u64).saturating_add(1);
        let wanted = room.min(CHUNK as u64);
        let failed = |error| Error::io(path, error);
        let memory = |_| failed(io::ErrorKind::OutOfMemory.into());
        bytes.try_reserve(wanted as usize).map_err(memory)?;
        let read = stream.take(wanted).read_to_end(&mut bytes);
        if read.map_err(failed)? == 0 {
            return Ok(bytes);
        }
        if bytes.len() as u64 > limit.bytes {
            return Err(limit.exceeded(path, None));
        }
    }
}

/// Reads a regular file of UTF-8.
///
/// # Errors
/// As [`read`]; [`Error::NotText`] with the line.
pub fn read_text(path: &Path, limit: Limit) -> Result<String> {
    text(read(path, limit)?, path)
}

/// Bytes as a string, without the mark that some editors put first; `path` is for messages.
///
/// # Errors
/// [`Error::NotText`] with the line.
pub fn text(bytes: Vec<u8>, path: &Path) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        Error::NotText {
            path: path.to_path_buf(),
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
        }
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// What Windows' editors put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a JSON file.
///
/// # Errors
/// As [`read`]; [`Error::Json`] with line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: Limit) -> Result<T> {
    json(&read(path, limit)?, path)
}

/// Parses JSON; `path` is for messages.
///
/// # Errors
/// [`Error::Json`] with line and column.
pub fn json<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| Error::json(path, error))
}

/// Reads a settings file that holds a JSON object.
///
/// # Errors
/// As [`read_json`].
pub fn read_object(path: &Path) -> Result<Map<String, Value>> {
    read_json(path, Limit::SETTINGS)
}

/// Fills `buffer` from the given offset, without moving the file's cursor: threads can share the file.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` from the given offset. Every read here names its offset, so a moved cursor does no harm.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                buffer = &mut buffer[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SMALL: Limit = Limit::new("a small file", 10);

    fn message(path: &Path) -> String {
        read(path, SMALL).unwrap_err().to_string()
    }

    #[test]
    fn files_within_their_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        for len in 0..=10 {
            std::fs::write(&path, vec![b'x'; len]).unwrap();
            assert_eq!(read(&path, SMALL).unwrap().len(), len);
        }
        std::fs::write(&path, [b'x'; 11]).unwrap();
        let told = message(&path);
        assert!(told.contains("11 bytes") && told.contains("10") && told.contains("a small file"));
        assert!(
            read_if_present(&folder.path().join("no"), SMALL)
                .unwrap()
                .is_none()
        );
        assert!(read_if_present(&path, SMALL).is_err());
    }

    /// A sparse file costs nothing, whatever it says of its size.
    #[test]
    fn sizes_are_not_believed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert!(message(file.path()).contains("1099511627776 bytes"));
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(folder.path()).contains("a directory"));
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
            assert!(message(&pipe).contains("a pipe"));
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&pipe, &link).unwrap();
            assert!(message(&link).contains("a pipe"));
            let socket = folder.path().join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            assert!(message(&socket).contains("a socket"));
            for device in ["/dev/zero", "/dev/null", "/dev/full"] {
                assert!(message(Path::new(device)).contains("a device"));
            }
        }
    }

    #[test]
    fn endless_streams_end() {
        let found = read_stream(&mut io::repeat(b'x'), Path::new("-"), SMALL);
        assert!(
            found
                .unwrap_err()
                .to_string()
                .contains("more than 10 bytes")
        );
    }

    #[test]
    fn text_is_told_from_bytes() {
        let path = Path::new("f");
        assert_eq!(text(b"\xef\xbb\xbfab".to_vec(), path).unwrap(), "ab");
        let told = text(b"a\nb\n\xff".to_vec(), path).unwrap_err().to_string();
        assert!(told.contains("line 3"), "{told}");
        assert_eq!(json::<u8>(b"\xef\xbb\xbf7", path).unwrap(), 7);
    }
}

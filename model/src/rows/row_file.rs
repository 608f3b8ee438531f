//! A file of rows as text, read once and from its start, so that it can be a pipe: lines, or the elements
//! of one JSON array. No row takes more memory than a row can need, whatever the file says or however long
//! it goes on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{self, Limit};

/// The mark that some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An open file of rows.
pub(super) struct RowFile<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Lines that are behind.
    lines: usize,
}

impl<'a> RowFile<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let file = BufReader::with_capacity(1 << 16, files::open_stream(path)?);
        let mut rows = Self {
            path,
            file,
            lines: 0,
        };
        rows.skip_mark().map_err(|error| Error::io(path, error))?;
        Ok(rows)
    }

    /// Gives up a mark at the start, which a pipe may hand out byte by byte.
    fn skip_mark(&mut self) -> io::Result<()> {
        for expected in BYTE_ORDER_MARK {
            match self.file.fill_buf()?.first() {
                Some(found) if found == expected => self.file.consume(1),
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether the rows are one JSON array; blank lines before it are skipped.
    pub(super) fn is_array(&mut self) -> Result<bool> {
        let failed = |error| Error::io(self.path, error);
        loop {
            let Some(&byte) = self.file.fill_buf().map_err(failed)?.first() else {
                return Ok(false);
            };
            if !byte.is_ascii_whitespace() {
                return Ok(byte == b'[');
            }
            self.lines += usize::from(byte == b'\n');
            self.file.consume(1);
        }
    }

    /// Gives each line that is not blank, with its number, until `take` has enough.
    pub(super) fn lines(
        mut self,
        mut take: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let bounded = (&mut self.file).take(Limit::ROW.bytes + 1);
            let read = { bounded }.read_until(b'\n', &mut line);
            if read.map_err(|error| Error::io(self.path, error))? == 0 {
                return Ok(());
            }
            self.lines += 1;
            if line.len() as u64 > Limit::ROW.bytes {
                return Err(too_long(self.path, self.lines));
            }
            if !line.trim_ascii().is_empty() && take(self.lines, &line).is_break() {
                return Ok(());
            }
        }
    }

    /// Gives each element of the array, with its number and as it is written, until `take` has enough.
    pub(super) fn elements(
        self,
        take: impl FnMut(usize, Value, &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        // The parser counts lines for its messages.
        let blank = io::repeat(b'\n').take(self.lines as u64);
        let left = Cell::new(Limit::ROW.bytes);
        let (number, stopped) = (Cell::new(1), Cell::new(false));
        let text = RefCell::new(Vec::new());
        let metered = Metered {
            inner: blank.chain(self.file),
            left: &left,
            text: &text,
        };
        let mut json = serde_json::Deserializer::from_reader(metered);
        let elements = Elements {
            take,
            left: &left,
            text: &text,
            number: &number,
            stopped: &stopped,
        };
        let result = elements.deserialize(&mut json).and_then(|()| json.end());
        match result {
            Ok(()) => Ok(()),
            // What follows is not looked at, which the parser takes for an error.
            Err(_) if stopped.get() => Ok(()),
            Err(_) if left.get() == 0 => Err(too_long(self.path, number.get())),
            Err(error) if error.is_io() => Err(Error::io(self.path, error.into())),
            Err(error) => Err(Error::json(self.path, error)),
        }
    }
}

/// An element without the bracket or comma before it; the parser reads nothing ahead of the end of an object.
fn element(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| byte == b'{').unwrap_or(0);
    text[start..].trim_ascii()
}

fn too_long(path: &Path, line: usize) -> Error {
    Error::Row {
        path: path.to_path_buf(),
        line,
        detail: format!(
            "more than {} bytes, the most that is read of {}",
            Limit::ROW.bytes,
            Limit::ROW.what
        ),
        others: 0,
    }
}

/// Ends when a row has taken what it may.
struct Metered<'a, R> {
    inner: R,
    left: &'a Cell<u64>,
    /// What was read since the last row.
    text: &'a RefCell<Vec<u8>>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (buffer.len() as u64).min(self.left.get()) as usize;
        if wanted == 0 && !buffer.is_empty() {
            return Err(io::Error::other("a row that is too long"));
        }
        let read = self.inner.read(&mut buffer[..wanted])?;
        self.left.set(self.left.get() - read as u64);
        self.text.borrow_mut().extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// The array, one element after the other.
struct Elements<'a, F> {
    take: F,
    left: &'a Cell<u64>,
    text: &'a RefCell<Vec<u8>>,
    number: &'a Cell<usize>,
    stopped: &'a Cell<bool>,
}

impl<'de, F: FnMut(usize, Value, &[u8]) -> ControlFlow<()>> DeserializeSeed<'de>
    for Elements<'_, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(usize, Value, &[u8]) -> ControlFlow<()>> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(value) = seq.next_element()? {
            let text = self.text.take();
            if (self.take)(self.number.get(), value, element(&text)).is_break() {
                self.stopped.set(true);
                return Ok(());
            }
            self.left.set(Limit::ROW.bytes);
            self.number.set(self.number.get() + 1);
        }
        Ok(())
    }
}

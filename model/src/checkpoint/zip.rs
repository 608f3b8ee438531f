//! The little of the zip format that `torch.save` writes: entries stored without compression.
//!
//! Only the directory is read, and its size is bounded, so that a file of gigabytes costs a few
//! kilobytes; the entries themselves are then read in place. (The `zip` crate asks for memory by the
//! number of entries that the file claims, before it has seen them.)

use std::collections::HashMap;
use std::fs::File;

use crate::files::read_at;

const END: [u8; 4] = *b"PK\x05\x06";
const END_LEN: usize = 22;
const END64: [u8; 4] = *b"PK\x06\x06";
const END64_LEN: usize = 56;
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_LEN: usize = 20;
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const CENTRAL_LEN: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_LEN: usize = 30;

/// A directory beyond this belongs to no checkpoint (ChatGLM-6B's has some 500 entries).
const MAX_DIRECTORY: u64 = 32 << 20;

/// Why a zip archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the zip directory is missing or damaged ({0}); the file may be truncated")]
    Directory(&'static str),
    #[error("entry `{0}` of the zip archive is compressed; torch.save stores entries as they are")]
    Compressed(String),
    #[error("entry `{0}` of the zip archive is encrypted")]
    Encrypted(String),
    #[error("entry `{0}` of the zip archive reaches outside the file")]
    Outside(String),
    #[error("the zip archive has two entries `{0}`")]
    Duplicate(String),
}

/// The directory of an archive.
pub(crate) struct Archive {
    entries: HashMap<String, Entry>,
    /// Where the directory starts and all data ends.
    end_of_data: u64,
}

struct Entry {
    encrypted: bool,
    compressed: bool,
    size: u64,
    header: u64,
}

impl Archive {
    /// Reads the directory of a file of `len` bytes.
    pub(crate) fn open(file: &File, len: u64) -> Result<Self, ZipError> {
        let end = End::find(file, len)?;
        if end.size > MAX_DIRECTORY {
            return Err(ZipError::Directory("too large"));
        }
        let mut bytes = vec![0; end.size as usize];
        read_at(file, end.start, &mut bytes)?;
        let mut entries = HashMap::new();
        let mut rest = &bytes[..];
        for _ in 0..end.entries {
            let (name, entry, tail) = central(rest)?;
            rest = tail;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(ZipError::Duplicate(name));
            }
        }
        Ok(Self {
            entries,
            end_of_data: end.start,
        })
    }

    /// Names of all entries, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the data of an entry lies, as offset and size; nothing if there is no such entry.
    pub(crate) fn locate(&self, file: &File, name: &str) -> Result<Option<(u64, u64)>, ZipError> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        if entry.encrypted {
            return Err(ZipError::Encrypted(name.to_owned()));
        }
        if entry.compressed {
            return Err(ZipError::Compressed(name.to_owned()));
        }
        let outside = || ZipError::Outside(name.to_owned());
        let after_header = entry.header.checked_add(LOCAL_LEN as u64);
        if after_header.is_none_or(|end| end > self.end_of_data) {
            return Err(outside());
        }
        let mut header = [0; LOCAL_LEN];
        read_at(file, entry.header, &mut header)?;
        if header[..4] != LOCAL {
            return Err(ZipError::Directory(
                "an entry's header is not where it should be",
            ));
        }
        let names = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let start = entry.header + LOCAL_LEN as u64 + names;
        match start.checked_add(entry.size) {
            Some(end) if end <= self.end_of_data => Ok(Some((start, entry.size))),
            _ => Err(outside()),
        }
    }
}

/// What the end record says of the directory.
struct End {
    entries: u64,
    size: u64,
    start: u64,
}

impl End {
    fn find(file: &File, len: u64) -> Result<Self, ZipError> {
        let tail_len = len.min((END_LEN + usize::from(u16::MAX)) as u64) as usize;
        let tail_start = len - tail_len as u64;
        let mut tail = vec![0; tail_len];
        read_at(file, tail_start, &mut tail)?;
        let at = (0..(tail_len + 1).saturating_sub(END_LEN))
            .rev()
            .find(|&at| {
                tail[at..at + 4] == END
                    && at + END_LEN + usize::from(u16_at(&tail, at + 20)) == tail_len
            })
            .ok_or(ZipError::Directory("no end record"))?;
        let short = Self {
            entries: u16_at(&tail, at + 10).into(),
            size: u32_at(&tail, at + 12).into(),
            start: u32_at(&tail, at + 16).into(),
        };
        let position = tail_start + at as u64;
        let (end, limit) = match Self::find64(file, position)? {
            Some(found) if short.is_saturated() => found,
            _ => (short, position),
        };
        match end.start.checked_add(end.size) {
            Some(stop) if stop <= limit && end.entries <= end.size / CENTRAL_LEN as u64 => Ok(end),
            _ => Err(ZipError::Directory("it does not fit into the file")),
        }
    }

    /// A field at its maximum says that the real value stands in the 64-bit record.
    fn is_saturated(&self) -> bool {
        self.entries == 0xffff || self.size == 0xffff_ffff || self.start == 0xffff_ffff
    }

    /// The 64-bit end record and where it starts, if the locator before `position` names one.
    fn find64(file: &File, position: u64) -> Result<Option<(Self, u64)>, ZipError> {
        let Some(at) = position.checked_sub(LOCATOR_LEN as u64) else {
            return Ok(None);
        };
        let mut locator = [0; LOCATOR_LEN];
        read_at(file, at, &mut locator)?;
        if locator[..4] != LOCATOR {
            return Ok(None);
        }
        let start = u64_at(&locator, 8);
        if start
            .checked_add(END64_LEN as u64)
            .is_none_or(|end| end > at)
        {
            return Err(ZipError::Directory("no 64-bit end record"));
        }
        let mut record = [0; END64_LEN];
        read_at(file, start, &mut record)?;
        if record[..4] != END64 {
            return Err(ZipError::Directory("no 64-bit end record"));
        }
        let end = Self {
            entries: u64_at(&record, 32),
            size: u64_at(&record, 40),
            start: u64_at(&record, 48),
        };
        Ok(Some((end, start)))
    }
}

/// Parses one directory record: its name, the entry, and what follows.
fn central(bytes: &[u8]) -> Result<(String, Entry, &[u8]), ZipError> {
    let damaged = ZipError::Directory;
    if bytes.len() < CENTRAL_LEN || bytes[..4] != CENTRAL {
        return Err(damaged("an entry's record is cut off"));
    }
    let name_end = CENTRAL_LEN + usize::from(u16_at(bytes, 28));
    let extra_end = name_end + usize::from(u16_at(bytes, 30));
    let record_end = extra_end + usize::from(u16_at(bytes, 32));
    if record_end > bytes.len() {
        return Err(damaged("an entry's record is cut off"));
    }
    let name = std::str::from_utf8(&bytes[CENTRAL_LEN..name_end])
        .map_err(|_| damaged("an entry's name is not UTF-8"))?;
    let mut long = Extra64::find(&bytes[name_end..extra_end]);
    // The order of the fields in the extra record is fixed: size, compressed size, offset.
    let size = long.resolve(u32_at(bytes, 24))?;
    let compressed_size = long.resolve(u32_at(bytes, 20))?;
    let header = long.resolve(u32_at(bytes, 42))?;
    let entry = Entry {
        encrypted: u16_at(bytes, 8) & 1 != 0,
        compressed: u16_at(bytes, 10) != 0 || compressed_size != size,
        size,
        header,
    };
    Ok((name.to_owned(), entry, &bytes[record_end..]))
}

/// The 64-bit values of an entry whose 32-bit fields are saturated.
struct Extra64<'a>(&'a [u8]);

impl<'a> Extra64<'a> {
    fn find(mut extra: &'a [u8]) -> Self {
        while extra.len() >= 4 {
            let end = (4 + usize::from(u16_at(extra, 2))).min(extra.len());
            if u16_at(extra, 0) == 1 {
                return Self(&extra[4..end]);
            }
            extra = &extra[end..];
        }
        Self(&[])
    }

    fn resolve(&mut self, short: u32) -> Result<u64, ZipError> {
        if short != u32::MAX {
            return Ok(short.into());
        }
        let (value, rest) = self
            .0
            .split_first_chunk::<8>()
            .ok_or(ZipError::Directory("an entry's 64-bit sizes are missing"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*value))
    }
}

// Fixed-width fields; every caller has checked that the record is whole.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// An archive of stored entries, as torch.save writes it.
    pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in entries {
            let header = bytes.len() as u32;
            let sizes = [data.len() as u32, data.len() as u32]
                .map(u32::to_le_bytes)
                .concat();
            let lengths = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
            bytes.extend(
                [
                    &LOCAL[..],
                    &[0; 14],
                    &sizes,
                    &lengths,
                    name.as_bytes(),
                    data,
                ]
                .concat(),
            );
            directory.extend([&CENTRAL[..], &[0; 16], &sizes, &lengths, &[0; 10]].concat());
            directory.extend(header.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let start = bytes.len() as u32;
        let count = (entries.len() as u16).to_le_bytes();
        bytes.extend(&directory);
        bytes.extend([&END[..], &[0; 4], &count, &count].concat());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    /// Reads every entry, as callers do.
    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ZipError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let archive = Archive::open(&file, bytes.len() as u64)?;
        let mut names: Vec<_> = archive.names().map(str::to_owned).collect();
        names.sort();
        names
            .into_iter()
            .map(|name| {
                let (start, size) = archive.locate(&file, &name)?.unwrap();
                assert!(size <= bytes.len() as u64);
                let mut data = vec![0; size as usize];
                read_at(&file, start, &mut data)?;
                Ok((name, data))
            })
            .collect()
    }

    /// Offset of the central directory of [`archive`]'s output.
    fn directory(bytes: &[u8]) -> usize {
        u32_at(bytes, bytes.len() - 6) as usize
    }

    #[test]
    fn entries_are_found() {
        let bytes = archive(&[("a/x", b"one"), ("a/y", b"")]);
        let expected = [
            ("a/x".to_owned(), b"one".to_vec()),
            ("a/y".to_owned(), Vec::new()),
        ];
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn the_64_bit_directory_is_read() {
        let mut bytes = archive(&[("a", b"one")]);
        let end = bytes.len() - END_LEN;
        let (size, start) = (u32_at(&bytes, end + 12), u32_at(&bytes, end + 16));
        let mut record = [&END64[..], &44u64.to_le_bytes(), &[0; 12]].concat();
        record.extend(
            [1, 1, u64::from(size), u64::from(start)]
                .map(u64::to_le_bytes)
                .concat(),
        );
        let locator = [
            &LOCATOR[..],
            &[0; 4],
            &(end as u64).to_le_bytes(),
            &[1, 0, 0, 0],
        ]
        .concat();
        bytes[end + 8..end + 20].fill(0xff);
        bytes.splice(end..end, [record, locator].concat());
        assert_eq!(read(&bytes).unwrap()[0].1, b"one");
        // A lying 64-bit count is held against the directory's size.
        bytes[end + 32..end + 40].fill(0x7f);
        assert!(matches!(read(&bytes), Err(ZipError::Directory(_))));
    }

    #[test]
    fn faults_are_told_apart() {
        let good = archive(&[("a", b"one")]);
        let record = directory(&good);
        let change = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            read(&bytes).expect_err("must be refused")
        };
        assert!(matches!(change(record + 10, 8), ZipError::Compressed(_)));
        assert!(matches!(change(record + 8, 1), ZipError::Encrypted(_)));
        assert!(matches!(change(record + 45, 1), ZipError::Outside(_)));
        assert!(matches!(change(record + 42, 1), ZipError::Directory(_)));
        assert!(matches!(change(0, 0), ZipError::Directory(_)));
        assert!(matches!(
            read(&good[..good.len() - 1]),
            Err(ZipError::Directory(_))
        ));
        assert!(matches!(
            read(&archive(&[("a", b""), ("a", b"")])),
            Err(ZipError::Duplicate(_))
        ));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&bytes[..], &END, &[0; 18]].concat());
        }

        #[test]
        fn damaged_archives_never_panic(
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)
        ) {
            let mut bytes = archive(&[("a/x", b"one"), ("a/y", b"three")]);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
        }
    }
}

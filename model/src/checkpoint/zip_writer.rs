//! A zip archive of stored entries, written front to back as PyTorch lays it out: every size and checksum is
//! known before the entry's data, which are aligned so that they can be mapped.

use std::io::{self, Write};

/// What data are aligned to.
const ALIGNMENT: u64 = 64;
/// Marks of the records.
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
/// Extra fields: 64-bit sizes, and padding under PyTorch's tag.
const SIZES64: u16 = 1;
const PADDING: [u8; 2] = *b"FB";
/// Versions that a reader needs: with and without 64-bit sizes.
const VERSION: u16 = 20;
const VERSION64: u16 = 45;
/// The date of all entries, 1980-01-01: equal contents make equal files.
const DATE: u16 = 0x21;
/// Stands for a number that is in the 64-bit field.
const ELSEWHERE: u32 = u32::MAX;
const LOCAL_LEN: u64 = 30;

/// An archive that is being written.
pub(crate) struct ZipWriter<W: Write> {
    out: W,
    written: u64,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    size: u64,
    checksum: u32,
    start: u64,
}

impl<W: Write> ZipWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            entries: Vec::new(),
        }
    }

    /// Writes one entry.
    pub(crate) fn entry(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let entry = Entry {
            name: name.to_owned(),
            size: data.len() as u64,
            checksum: crc32fast::hash(data),
            start: self.written,
        };
        let header = entry.local(self.written);
        self.write(&header)?;
        self.write(data)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the directory and gives back what was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let start = self.written;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            self.write(&entry.central())?;
        }
        let size = self.written - start;
        let end = end(entries.len() as u64, size, start, self.written);
        self.write(&end)?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl Entry {
    /// The header before the data, with as much padding as aligns them.
    fn local(&self, at: u64) -> Vec<u8> {
        let is_large = is_large(self.size);
        let mut extra = Vec::new();
        if is_large {
            extra.extend(sizes64(&[self.size, self.size]));
        }
        // Tag and length of the padding come before it.
        let data = at + LOCAL_LEN + (self.name.len() + extra.len()) as u64 + 4;
        let padding = (ALIGNMENT - data % ALIGNMENT) % ALIGNMENT;
        extra.extend(PADDING);
        extra.extend((padding as u16).to_le_bytes());
        extra.resize(extra.len() + padding as usize, b'Z');
        let mut header = LOCAL.to_vec();
        header.extend(version(is_large));
        header.extend(self.common(is_large));
        header.extend((self.name.len() as u16).to_le_bytes());
        header.extend((extra.len() as u16).to_le_bytes());
        header.extend(self.name.as_bytes());
        header.extend(extra);
        header
    }

    /// The record of the directory.
    fn central(&self) -> Vec<u8> {
        let (is_large, is_far) = (is_large(self.size), is_large(self.start));
        let mut numbers = Vec::new();
        if is_large {
            numbers.extend([self.size, self.size]);
        }
        if is_far {
            numbers.push(self.start);
        }
        let extra = match numbers.is_empty() {
            true => Vec::new(),
            false => sizes64(&numbers),
        };
        let mut record = CENTRAL.to_vec();
        record.extend([0, 0]);
        record.extend(version(is_large || is_far));
        record.extend(self.common(is_large));
        record.extend((self.name.len() as u16).to_le_bytes());
        record.extend((extra.len() as u16).to_le_bytes());
        // Comment, disk, attributes.
        record.extend([0; 10]);
        record.extend(narrow(self.start).to_le_bytes());
        record.extend(self.name.as_bytes());
        record.extend(extra);
        record
    }

    /// Flags, method, time, date, checksum and sizes.
    fn common(&self, is_large: bool) -> Vec<u8> {
        let size = match is_large {
            true => ELSEWHERE,
            false => narrow(self.size),
        };
        let mut bytes = vec![0; 6];
        bytes.extend(DATE.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes
    }
}

/// The end of the archive, in its 64-bit form too where a number asks for it.
fn end(count: u64, size: u64, start: u64, at: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let is_large = count >= u64::from(u16::MAX) || is_large(size) || is_large(start);
    if is_large {
        bytes.extend(END64);
        bytes.extend(44u64.to_le_bytes());
        bytes.extend(VERSION64.to_le_bytes());
        bytes.extend(VERSION64.to_le_bytes());
        bytes.extend([0; 8]);
        for number in [count, count, size, start] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(LOCATOR);
        bytes.extend([0; 4]);
        bytes.extend(at.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    bytes.extend(END);
    bytes.extend([0; 4]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(narrow(size).to_le_bytes());
    bytes.extend(narrow(start).to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn is_large(number: u64) -> bool {
    number >= u64::from(ELSEWHERE)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

fn version(is_large: bool) -> [u8; 2] {
    match is_large {
        true => VERSION64.to_le_bytes(),
        false => VERSION.to_le_bytes(),
    }
}

fn sizes64(numbers: &[u64]) -> Vec<u8> {
    let mut field = SIZES64.to_le_bytes().to_vec();
    field.extend((8 * numbers.len() as u16).to_le_bytes());
    field.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    field
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;

    use super::super::zip::Archive;
    use super::*;
    use crate::files::read_at;

    #[test]
    fn entries_are_found_again_and_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        let entries = [
            ("a/data.pkl", &b"one"[..]),
            ("a/b", b""),
            ("a/c", &[7; 200]),
        ];
        for (name, data) in entries {
            writer.entry(name, data).unwrap();
        }
        writer.finish().unwrap();
        let file = File::open(&path).unwrap();
        let archive = Archive::open(&file, file.metadata().unwrap().len()).unwrap();
        assert_eq!(archive.names().count(), entries.len());
        for (name, data) in entries {
            let (start, size) = archive.locate(&file, name).unwrap().unwrap();
            assert_eq!(start % ALIGNMENT, 0, "{name}");
            let mut found = vec![0; size as usize];
            read_at(&file, start, &mut found).unwrap();
            assert_eq!(found, data, "{name}");
        }
    }

    /// Where an entry lies beyond four gigabytes, and where the directory does.
    #[test]
    fn large_numbers_have_fields_of_their_own() {
        let far = Entry {
            name: "n".to_owned(),
            size: 5 << 32,
            checksum: 0,
            start: 6 << 32,
        };
        let record = far.central();
        let field = [5u64 << 32, 5 << 32, 6 << 32];
        assert!(record.ends_with(&sizes64(&field)));
        assert_eq!(record[42..46], [0xff; 4]);
        assert!(end(1, 10, 6 << 32, 7 << 32).starts_with(&END64));
        assert!(end(1, 10, 20, 30).starts_with(&END));
    }
}

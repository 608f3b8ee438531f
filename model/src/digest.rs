//! The digest (SHA-256) by which data, files and settings are known again.

use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::files;

/// Bytes of a digest.
pub const LENGTH: usize = 32;
/// Bytes of a file that are digested at a time.
const CHUNK: usize = 1 << 20;

/// A digest in the making.
#[derive(Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().with(bytes)
    }

    /// The digest of a file, and the file's size.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> Result<(Self, u64)> {
        let (mut file, _) = files::open_regular(path)?;
        let (mut digest, mut bytes) = (Self::default(), 0);
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(|error| Error::io(path, error))?;
            if read == 0 {
                return Ok((digest, bytes));
            }
            digest = digest.with(&buffer[..read]);
            bytes += read as u64;
        }
    }

    /// Goes on with more bytes.
    pub fn with(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.update(bytes);
        self
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; LENGTH] {
        self.0.finalize().into()
    }

    /// Its hexadecimal digits.
    pub fn hex(self) -> String {
        let bytes = self.bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The digest of a file, as hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn file_digest(path: &Path) -> Result<String> {
    Ok(Digest::of_file(path)?.0.hex())
}

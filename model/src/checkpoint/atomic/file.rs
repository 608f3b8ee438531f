//! A file that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::temporary::{self, Purpose};
use super::{parent, sync_dir, target};
use crate::device_health;
use crate::error::{Error, Result};

/// A file that appears under its name on [`AtomicFile::commit`]. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// Closed once sealed.
    file: Option<File>,
    committed: bool,
}

impl AtomicFile {
    /// Starts a file that will replace `target`; a link there is replaced itself.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if `target` is a directory, a device or a pipe, or has a name that no file can
    /// have; [`Error::Io`] if its directory cannot be written to.
    pub fn create(target: &Path) -> Result<Self> {
        target::check_file(target)?;
        let make = |path: &Path| {
            let file = OpenOptions::new().write(true).create_new(true).open(path)?;
            temporary::hold(&file);
            Ok(file)
        };
        let (file, temporary) = temporary::create(parent(target), target, Purpose::Partial, make)?;
        Ok(Self {
            target: target.to_path_buf(),
            temporary,
            file: Some(file),
            committed: false,
        })
    }

    /// Writes `bytes` to `target`, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::create`], and [`Error::Io`] if a step fails; an older file is then untouched.
    pub fn write(target: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = Self::create(target)?;
        file.write_all(bytes)
            .map_err(|error| Error::io(target, error))?;
        file.commit()
    }

    /// Forces what was written to disk and closes the file, which keeps its temporary name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk refuses.
    pub fn seal(&mut self) -> Result<()> {
        match self.file.take() {
            Some(file) => file
                .sync_all()
                .map_err(|error| Error::io(&self.target, error)),
            None => Ok(()),
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk or the rename fails, [`Error::Device`] if what it holds may come from a device
    /// that has failed; an older file is then untouched.
    pub fn commit(mut self) -> Result<()> {
        device_health::check()?;
        self.seal()?;
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| Error::io(&self.target, error))?;
        self.committed = true;
        sync_dir(parent(&self.target)).map_err(|error| Error::io(&self.target, error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is sealed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Windows removes no open file.
            self.file = None;
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

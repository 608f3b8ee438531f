//! A file of lines that grows, and that a later run goes on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::lock::WriteLock;
use crate::device_health;
use crate::error::{Error, Result};
use crate::files;

/// A file of lines that one process at a time adds to.
///
/// It is no [`AtomicFile`](super::AtomicFile): whatever was written when a run ends, or is killed, is there for the
/// next one, so that lines go to the file itself. Each is written at once, and at most the last one can be half
/// there.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: Option<File>,
    /// Held as long as this value lives.
    _lock: WriteLock,
}

impl AppendFile {
    /// Takes the right to write to a file. It is neither made nor changed.
    ///
    /// # Errors
    /// [`Error::Directory`] if another process is writing to it, or if it is not a regular file;
    /// [`Error::Io`] if its directory cannot be written to.
    pub fn lock(path: &Path) -> Result<Self> {
        check(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            file: None,
            _lock: WriteLock::of_file(path)?,
        })
    }

    /// Opens what is there already for reading.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`].
    pub fn read(&self) -> Result<Option<File>> {
        match self.path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => files::open_regular(&self.path).map(|(file, _)| Some(file)),
        }
    }

    /// Keeps the first bytes of the file, which is made if it is not there, and from here on adds to them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start(&mut self, keep: u64) -> Result<()> {
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let mut file = options.open(&self.path)?;
            file.set_len(keep)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        self.file = Some(open().map_err(|error| Error::io(&self.path, error))?);
        Ok(())
    }

    /// Adds bytes, which no failed device may have given.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses, or if the file was not [started](Self::start); [`Error::Device`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        device_health::check()?;
        self.file()?
            .write_all(bytes)
            .map_err(|error| Error::io(&self.path, error))
    }

    /// Forces what was added to disk.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn sync(&mut self) -> Result<()> {
        self.file()?
            .sync_all()
            .map_err(|error| Error::io(&self.path, error))
    }

    fn file(&mut self) -> Result<&mut File> {
        let closed = || Error::io(&self.path, io::Error::other("the file was not opened"));
        self.file.as_mut().ok_or_else(closed)
    }
}

/// Refuses what is not a regular file. A link would give one file two names, and two locks.
fn check(path: &Path) -> Result<()> {
    let refuse = |what: &str| {
        let detail = format!("{what}; name a regular file, or one that does not exist yet");
        Err(Error::directory(path, detail))
    };
    if path.file_name().is_none() {
        return refuse("not the name of a file that can be written");
    }
    let has_place = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.is_dir(),
        _ => true,
    };
    if !has_place {
        let detail = "the directory that it is to be in does not exist; make it first";
        return Err(Error::directory(path, detail));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path, error)),
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) if metadata.is_symlink() => refuse("a link"),
        Ok(metadata) if metadata.is_dir() => refuse("a directory"),
        Ok(_) => refuse("no regular file"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_one_process_adds_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        let mut first = AppendFile::lock(&path).unwrap();
        assert!(first.read().unwrap().is_none());
        assert!(AppendFile::lock(&path).unwrap_err().is_request());
        assert!(first.append(b"x").is_err());
        first.start(0).unwrap();
        first.append(b"one\ntw").unwrap();
        drop(first);
        let mut second = AppendFile::lock(&path).unwrap();
        assert!(second.read().unwrap().is_some());
        assert_eq!(fs::read(&path).unwrap(), b"one\ntw");
        second.start(4).unwrap();
        second.append(b"three\n").unwrap();
        second.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\nthree\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AppendFile::lock(folder.path()).is_err());
        assert!(AppendFile::lock(Path::new("/")).is_err());
        let error = AppendFile::lock(&folder.path().join("none/p")).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink("elsewhere", &link).unwrap();
            assert!(AppendFile::lock(&link).is_err());
            assert!(!folder.path().join("elsewhere").exists());
        }
    }
}

//! Files and directories that appear whole or not at all.
//!
//! Both are filled beside their place under a hidden name, forced to disk, and renamed into place. What
//! a failure leaves behind is removed when the guard is dropped; what a killed process leaves behind has
//! `.partial-` in its name and stands in nobody's way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::device_health;
use crate::error::{Error, Result};

/// How many names for a temporary file or directory are tried.
const ATTEMPTS: u32 = 100;

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
    /// Starts a file that will replace `target`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the directory of `target` cannot be written to.
    pub fn create(target: &Path) -> Result<Self> {
        let (file, temporary) = create_beside(target, "partial", |path| {
            OpenOptions::new().write(true).create_new(true).open(path)
        })?;
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
    /// [`Error::Io`] if any step fails; an older file is then untouched.
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

/// What [`AtomicDir`] does if its target exists and is not an empty directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, before anything is written.
    Refuse,
    /// Replace it at the end; until then it stays.
    Replace,
}

/// A directory that appears under its name on [`AtomicDir::commit`]. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct AtomicDir {
    target: PathBuf,
    temporary: PathBuf,
    existing: Existing,
    committed: bool,
}

impl AtomicDir {
    /// Starts a directory that will become `target`; missing parents are made.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if `target` exists, is not an empty directory and is not to be replaced, or if
    /// it is something else than a directory; [`Error::Io`] if its parent cannot be written to.
    pub fn create(target: &Path, existing: Existing) -> Result<Self> {
        let mut target = std::path::absolute(target).map_err(|error| Error::io(target, error))?;
        if target.exists() {
            // A link to a directory stays; what it points to is replaced.
            target = target
                .canonicalize()
                .map_err(|error| Error::io(&target, error))?;
        }
        check_target(&target, existing)?;
        let up = parent(&target);
        fs::create_dir_all(up).map_err(|error| Error::io(up, error))?;
        let ((), temporary) = create_beside(&target, "partial", |path| fs::create_dir(path))?;
        Ok(Self {
            target,
            temporary,
            existing,
            committed: false,
        })
    }

    /// Where to write until the directory is complete.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Forces everything to disk and gives the directory its name, which it returns.
    ///
    /// # Errors
    ///
    /// As [`Self::create`]; what stood at the target is then untouched.
    pub fn commit(mut self) -> Result<PathBuf> {
        device_health::check()?;
        sync_tree(&self.temporary)?;
        check_target(&self.target, self.existing)?;
        let failed = |error| Error::io(&self.target, error);
        let old = self.move_old_away()?;
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            if let Some(old) = &old {
                // The old directory goes back; should that fail too, it survives under its other name.
                let _ = fs::rename(old, &self.target);
            }
            return Err(failed(error));
        }
        sync_dir(parent(&self.target)).map_err(failed)?;
        self.committed = true;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(|error| Error::io(&old, error))?;
        }
        Ok(self.target.clone())
    }

    fn move_old_away(&self) -> Result<Option<PathBuf>> {
        if !self.target.exists() {
            return Ok(None);
        }
        let ((), old) = create_beside(&self.target, "replaced", |path| {
            // A rename onto a directory with files in it fails, one onto nothing or an empty one does not.
            fs::rename(&self.target, path)
        })?;
        Ok(Some(old))
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

fn check_target(target: &Path, existing: Existing) -> Result<()> {
    if target.file_name().is_none() {
        return Err(Error::directory(
            target,
            "not the name of a directory that can be written",
        ));
    }
    if !target.exists() {
        return Ok(());
    }
    if !target.is_dir() {
        return Err(Error::directory(target, "exists and is not a directory"));
    }
    let mut entries = fs::read_dir(target).map_err(|error| Error::io(target, error))?;
    if existing == Existing::Refuse && entries.next().is_some() {
        return Err(Error::directory(
            target,
            "exists and is not empty; name a new directory or remove it",
        ));
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes something under a hidden name beside `target` that nothing has yet.
fn create_beside<T>(
    target: &Path,
    word: &str,
    make: impl Fn(&Path) -> io::Result<T>,
) -> Result<(T, PathBuf)> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    let mut last = io::Error::other("no free temporary name");
    for attempt in 0..ATTEMPTS {
        let path = parent(target).join(format!(".{name}.{word}-{process}-{attempt}"));
        match make(&path) {
            Ok(made) => return Ok((made, path)),
            Err(error) if path.exists() => last = error,
            Err(error) => return Err(Error::io(target, error)),
        }
    }
    Err(Error::io(target, last))
}

fn sync_tree(dir: &Path) -> Result<()> {
    let failed = |error| Error::io(dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            let file = OpenOptions::new().append(true).open(&path);
            // A file that may not be written to was not written here either, but copied with its mode.
            match file {
                Ok(file) => file.sync_all().map_err(|error| Error::io(&path, error))?,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(Error::io(&path, error)),
            }
        }
    }
    sync_dir(dir).map_err(failed)
}

/// Makes a rename in a directory durable, where directories can be opened.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_on_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        AtomicFile::write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        let other = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        drop(other);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_directory_appears_on_commit() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/model");
        let dir = AtomicDir::create(&target, Existing::Refuse).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        assert!(!target.exists());
        dir.commit().unwrap();
        assert_eq!(names(&target), ["config.json"]);

        assert!(AtomicDir::create(&target, Existing::Refuse).is_err());
        let dir = AtomicDir::create(&target, Existing::Replace).unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        assert_eq!(names(&target), ["config.json"]);
        dir.commit().unwrap();
        assert_eq!(names(&target), ["other"]);
        assert_eq!(names(target.parent().unwrap()), ["model"]);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = AtomicDir::create(&folder.path().join("model"), Existing::Refuse).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        drop(dir);
        drop(AtomicFile::create(&folder.path().join("file")).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_empty_directory_may_stand_there_a_file_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        fs::create_dir(&target).unwrap();
        AtomicDir::create(&target, Existing::Refuse)
            .unwrap()
            .commit()
            .unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(AtomicDir::create(&folder.path().join("file"), Existing::Replace).is_err());
        assert!(AtomicDir::create(Path::new("/"), Existing::Replace).is_err());
    }
}

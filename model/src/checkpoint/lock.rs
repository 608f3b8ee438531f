//! One writer at a time in a directory, or to a file that grows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::ProcessName;

/// Name of the lock in a directory; that of a file's lock ends so.
const NAME: &str = ".glmtune.lock";
/// A lock can go while it is being asked for; how often it is asked for anew.
const ATTEMPTS: usize = 100;
/// More than a name of a process takes.
const MAX_BYTES: u64 = 4096;

/// The right to write into a directory: `.glmtune.lock` there, locked by the operating system, with the
/// name of the process inside; or to a file: `.NAME.glmtune.lock` beside it. It goes with this value.
///
/// The lock of a process that has ended is taken over. Where the process is another machine's, which a lock
/// of the operating system may not reach, the file's presence counts, and an error says what to do.
#[derive(Debug)]
pub struct WriteLock {
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
    /// Who held the lock before and ended without giving it back.
    pub left_by: Option<ProcessName>,
}

impl WriteLock {
    /// Locks a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if another process has it, with its name; [`Error::Io`] if the directory cannot be
    /// written to.
    pub fn of_directory(dir: &Path) -> Result<Self> {
        Self::acquire(dir, &dir.join(NAME))
    }

    /// Locks a file, which need not be there yet.
    ///
    /// # Errors
    ///
    /// As [`of_directory`](Self::of_directory).
    pub fn of_file(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self::acquire(file, &file.with_file_name(format!(".{name}{NAME}")))
    }

    /// Locks a place by the lock at `path`.
    fn acquire(place: &Path, path: &Path) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            if let Some(lock) = Self::try_acquire(place, path)? {
                return Ok(lock);
            }
        }
        Err(Error::directory(place, "its lock cannot be had"))
    }

    /// Nothing if the lock went while it was opened.
    fn try_acquire(place: &Path, path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::io(path, error);
        remove_link(path)?;
        let mut file = match open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(is_taken(place, &mut file)),
            // No locks on this file system: the file's contents have to do.
            Err(TryLockError::Error(_)) => false,
        };
        if !is_same(&file, path) {
            return Ok(None);
        }
        let left_by = read(&mut file);
        if let Some(owner) = &left_by {
            check_owner(place, path, owner, is_locked)?;
        }
        write(&mut file).map_err(failed)?;
        Ok(Some(Self {
            path: path.to_path_buf(),
            file,
            left_by,
        }))
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Still locked: who opened the file meanwhile finds another one, or none, under its name.
        if is_same(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A link under the lock's name would have a file elsewhere written.
fn remove_link(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            fs::remove_file(path).map_err(|error| Error::io(path, error))
        }
        Ok(metadata) if !metadata.is_file() => Err(Error::directory(
            path,
            "stands where glmtune keeps its lock, and is not a regular file; remove it",
        )),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
    }
    options.open(path)
}

/// Whether the file is still the one of that name.
#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(opened), Ok(named)) => place(opened) == place(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// The process in the file, if it was written whole.
fn read(file: &mut File) -> Option<ProcessName> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write(file: &mut File) -> io::Result<()> {
    let text = serde_json::to_vec(&ProcessName::this())?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

fn is_taken(place: &Path, file: &mut File) -> Error {
    let owner = read(file).map_or("another process".to_string(), |owner| owner.to_string());
    taken(place, &owner, "wait for it, or name another output")
}

fn taken(place: &Path, owner: &str, advice: &str) -> Error {
    Error::directory(place, format!("{owner} is writing here; {advice}"))
}

/// Whether the lock of a process that did not give it back may be taken over.
fn check_owner(place: &Path, path: &Path, owner: &ProcessName, is_locked: bool) -> Result<()> {
    let is_here = owner.is_of_this_machine();
    if is_here && (is_locked || !owner.is_seen()) {
        return Ok(());
    }
    let advice = format!("if it has ended, remove {} and start again", path.display());
    Err(taken(place, &owner.to_string(), &advice))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = WriteLock::of_directory(folder.path()).unwrap();
        assert_eq!(lock.left_by, None);
        let error = WriteLock::of_directory(folder.path()).expect_err("taken");
        let owner = ProcessName::this().to_string();
        assert!(error.is_request());
        assert!(error.to_string().contains(&owner), "{error}");
        drop(lock);
        assert!(!folder.path().join(NAME).exists());
        WriteLock::of_directory(folder.path()).unwrap();
    }

    #[test]
    fn files_of_a_directory_have_locks_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let _lock = WriteLock::of_file(&a).unwrap();
        assert!(WriteLock::of_file(&a).is_err());
        let _other = WriteLock::of_file(&b).unwrap();
        let _dir = WriteLock::of_directory(folder.path()).unwrap();
        assert!(!a.exists() && !b.exists());
    }

    #[test]
    fn what_the_dead_hold_is_taken_over_what_others_hold_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let this = ProcessName::this();
        let dead = ProcessName {
            pid: u32::MAX,
            ..this.clone()
        };
        let container = ProcessName {
            host: "container".to_string(),
            ..this.clone()
        };
        let rebooted = ProcessName {
            boot: "00000000".to_string(),
            ..this.clone()
        };
        for owner in [&dead, &container, &rebooted] {
            fs::write(&path, serde_json::to_vec(owner).unwrap()).unwrap();
            let lock = WriteLock::of_directory(folder.path()).unwrap();
            assert_eq!(lock.left_by.as_ref(), Some(owner));
        }
        // Killed before it was written whole.
        fs::write(&path, "{\"host\":").unwrap();
        WriteLock::of_directory(folder.path()).unwrap();

        let other = ProcessName {
            host: "elsewhere".to_string(),
            boot: "00000000".to_string(),
            ..this
        };
        fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
        let error = WriteLock::of_directory(folder.path()).expect_err("another machine's");
        assert!(error.to_string().contains("host elsewhere"), "{error}");
        assert!(error.to_string().contains("remove"), "{error}");
        fs::remove_file(&path).unwrap();
        WriteLock::of_directory(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("thesis");
        fs::write(&other, "years").unwrap();
        std::os::unix::fs::symlink("thesis", folder.path().join(NAME)).unwrap();
        let lock = WriteLock::of_directory(folder.path()).unwrap();
        assert!(!folder.path().join(NAME).is_symlink());
        drop(lock);
        assert_eq!(fs::read(&other).unwrap(), b"years");
    }

    /// Of many that ask at once, never two have it.
    #[test]
    fn many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok(_lock) = WriteLock::of_directory(folder.path()) else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, order), 0);
                        inside.fetch_sub(1, order);
                    }
                });
            }
        });
        WriteLock::of_directory(folder.path()).unwrap();
    }
}

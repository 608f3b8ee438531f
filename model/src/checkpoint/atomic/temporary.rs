//! The hidden names of what is not complete yet. They say whose it is, so that what a killed process left
//! behind can be told from what is being written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::ProcessName;

/// How many names are tried.
const ATTEMPTS: u32 = 100;
/// Longest part of the target's name that is repeated, in bytes, so that a target may have the longest name
/// that the file system takes.
const MAX_STEM: usize = 48;

/// What a temporary name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It will take the place of the target.
    Partial,
    /// It has just left it.
    Replaced,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Partial => ".partial-glmtune-",
            Self::Replaced => ".replaced-glmtune-",
        }
    }
}

/// A temporary name taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TemporaryName {
    /// What the target is called, shortened.
    pub(super) stem: String,
    pub(super) purpose: Purpose,
    pub(super) owner: ProcessName,
}

impl TemporaryName {
    /// Takes a name apart; nothing if it is not one of ours.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix('.')?;
        let found = [Purpose::Partial, Purpose::Replaced]
            .into_iter()
            .find_map(|purpose| {
                name.rsplit_once(purpose.word())
                    .map(|parts| (purpose, parts))
            });
        let (purpose, (stem, owner)) = found?;
        let mut parts = owner.rsplitn(4, '-');
        parts.next()?.parse::<u32>().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let (boot, host) = (parts.next()?.to_string(), parts.next()?.to_string());
        Some(Self {
            stem: stem.to_string(),
            purpose,
            owner: ProcessName { host, boot, pid },
        })
    }

    /// Whether it is of what this target is called.
    pub(super) fn is_of(&self, target: &Path) -> bool {
        self.stem == stem(target.file_name().unwrap_or_default())
    }
}

/// Makes something in `dir` under a hidden name that nothing has yet and that tells the target's.
pub(super) fn create<T>(
    dir: &Path,
    target: &Path,
    purpose: Purpose,
    make: impl Fn(&Path) -> io::Result<T>,
) -> Result<(T, PathBuf)> {
    let ProcessName { host, boot, pid } = ProcessName::this();
    let stem = stem(target.file_name().unwrap_or_default());
    let mut last = io::Error::other("no free temporary name");
    for attempt in 0..ATTEMPTS {
        let word = purpose.word();
        let path = dir.join(format!(".{stem}{word}{host}-{boot}-{pid}-{attempt}"));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match make(&path) {
            Ok(made) => return Ok((made, path)),
            Err(error) if path.symlink_metadata().is_ok() => last = error,
            Err(error) => return Err(Error::io(target, error)),
        }
    }
    Err(Error::io(target, last))
}

/// The target's name, cut and made unique again if it is long.
fn stem(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    if text.len() <= MAX_STEM {
        return text.into_owned();
    }
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let cut = &text[..text.floor_char_boundary(MAX_STEM - 9)];
    format!("{cut}~{:08x}", hasher.finish() as u32)
}

/// Tells other processes that the owner of a temporary file or directory is at work, as long as the handle
/// is open. Where the file system knows no locks, the owner's number has to do.
pub(super) fn hold(file: &File) {
    let _ = file.try_lock();
}

/// A handle that [`hold`]s a directory, where directories can be opened.
pub(super) fn hold_dir(dir: &Path) -> Option<File> {
    let handle = File::open(dir).ok()?;
    hold(&handle);
    Some(handle)
}

/// What of `dir` has a temporary name.
pub(super) fn entries(dir: &Path) -> Vec<(PathBuf, TemporaryName)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = TemporaryName::parse(path.file_name()?.to_str()?)?;
        Some((path, name))
    });
    named.collect()
}

/// Whether nobody is at work on it any more, as far as this machine can tell.
pub(super) fn is_abandoned(path: &Path, name: &TemporaryName) -> bool {
    name.owner.is_of_this_machine() && !name.owner.is_seen() && !is_held(path)
}

fn is_held(path: &Path) -> bool {
    let Ok(metadata) = path.symlink_metadata() else {
        return true;
    };
    if metadata.is_symlink() {
        return false;
    }
    if !metadata.is_file() && !metadata.is_dir() {
        return true;
    }
    let Ok(file) = OpenOptions::new().read(true).open(path) else {
        return true;
    };
    match file.try_lock() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        // No locks here: the process's number, which was looked at before, decides.
        Err(TryLockError::Error(_)) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a target is called, its temporary name is short, hidden, and tells target and owner.
        #[test]
        fn names_are_taken_apart_again(target in "[^/\0]{1,255}") {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join(target);
            prop_assume!(target.file_name().is_some());
            let made = create(folder.path(), &target, Purpose::Partial, |path| File::create_new(path));
            let (_, path) = made.unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(name.len() <= 140, "{name}");
            let parsed = TemporaryName::parse(name).unwrap();
            prop_assert!(parsed.is_of(&target));
            prop_assert_eq!(parsed.owner, ProcessName::this());
        }

        #[test]
        fn other_names_are_not_ours(name in "\\PC{0,60}") {
            prop_assert_eq!(TemporaryName::parse(&name), None);
        }
    }
}

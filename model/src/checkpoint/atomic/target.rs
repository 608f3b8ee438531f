//! What may stand where an output is to go. Everything that can be refused is refused here, before the work.

use std::fs::{self, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::temporary::TemporaryName;
use crate::error::{Error, Result};

/// Left in the root of a file system by those who made it.
const LOST_AND_FOUND: &str = "lost+found";

/// Refuses what cannot be replaced by a file: a directory, a device, a pipe, and links to the last two,
/// such as `/dev/stdout`. Any other link is replaced, and what it points to stays.
pub(super) fn check_file(target: &Path) -> Result<()> {
    check_name(target, "file")?;
    let Some(metadata) = present(target)? else {
        return Ok(());
    };
    let refuse = |what: String| {
        let detail = format!("{what}; name a regular file, or one that does not exist yet");
        Err(Error::directory(target, detail))
    };
    if metadata.is_symlink() {
        return match fs::metadata(target) {
            Ok(metadata) if is_special(metadata.file_type()) => {
                refuse(format!("a link to {}", kind(metadata.file_type())))
            }
            _ => Ok(()),
        };
    }
    match metadata.is_file() {
        true => Ok(()),
        false => refuse(kind(metadata.file_type()).to_string()),
    }
}

/// Refuses names that a directory cannot have, or that settings and notes could not repeat.
pub(super) fn check_name(target: &Path, what: &str) -> Result<()> {
    let Some(name) = target.file_name() else {
        let detail = format!("not the name of a {what} that can be written");
        return Err(Error::directory(target, detail));
    };
    match name.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::directory(
            target,
            "the name is not valid UTF-8; give the output another one",
        )),
    }
}

/// What stands at a path itself, links not followed.
pub(super) fn present(path: &Path) -> Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Err(Error::directory(
            path,
            "the name is longer than the file system takes; give the output a shorter one",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Error::directory(path, "lies in what is not a directory"))
        }
        Err(error) => Err(Error::io(path, error)),
    }
}

/// The directory that a user means by a name: a link there is followed, since it is the user's own choice
/// of a place.
pub(super) fn follow(target: PathBuf) -> Result<PathBuf> {
    match present(&target)? {
        Some(metadata) if metadata.is_symlink() => target.canonicalize().map_err(|_| {
            Error::directory(
                &target,
                "a link to what does not exist; remove it or name another directory",
            )
        }),
        _ => Ok(target),
    }
}

/// Whether a directory is there; anything else is refused.
pub(super) fn is_there(target: &Path) -> Result<bool> {
    match present(target)? {
        None => Ok(false),
        Some(metadata) if metadata.is_dir() => Ok(true),
        Some(metadata) => Err(Error::directory(
            target,
            format!(
                "exists and is not a directory, but {}",
                kind(metadata.file_type())
            ),
        )),
    }
}

/// Refuses a directory that holds something, but for what an empty file system holds and for what is
/// half written here.
pub(super) fn check_empty(target: &Path) -> Result<()> {
    let is_root = is_mount_point(target);
    for entry in fs::read_dir(target).map_err(|error| Error::io(target, error))? {
        let name = entry.map_err(|error| Error::io(target, error))?.file_name();
        let name = name.to_string_lossy();
        let ignored = (is_root && name == LOST_AND_FOUND) || TemporaryName::parse(&name).is_some();
        if !ignored {
            return Err(Error::directory(
                target,
                "exists and is not empty; name a new directory or remove it",
            ));
        }
    }
    Ok(())
}

/// Whether another file system begins at a directory: it cannot be renamed, nor anything renamed over it.
pub(super) fn is_mount_point(dir: &Path) -> bool {
    mount_flag(dir).unwrap_or_else(|| {
        let device = |path: &Path| device(&fs::metadata(path).ok()?);
        device(dir) != device(&dir.join(".."))
    })
}

/// What the kernel says of it, which knows bind mounts too.
#[cfg(target_os = "linux")]
fn mount_flag(dir: &Path) -> Option<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let found = statx(CWD, dir, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    let known = found
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT);
    known.then(|| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn mount_flag(_: &Path) -> Option<bool> {
    None
}

#[cfg(unix)]
fn device(metadata: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::dev(metadata))
}

#[cfg(not(unix))]
fn device(_: &Metadata) -> Option<u64> {
    None
}

fn is_special(kind: FileType) -> bool {
    !(kind.is_file() || kind.is_dir() || kind.is_symlink())
}

/// The kind of a file in words.
#[cfg(unix)]
fn kind(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if is_special(kind) => "a device",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a link",
        _ => "a file",
    }
}

#[cfg(not(unix))]
fn kind(kind: FileType) -> &'static str {
    match kind {
        _ if is_special(kind) => "a device",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a link",
        _ => "a file",
    }
}

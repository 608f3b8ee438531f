//! A directory that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::stale::remove_any;
use super::temporary::{self, Purpose};
use super::{parent, sync_dir, target};
use crate::device_health;
use crate::error::{Error, Result};

/// The files without which a directory is neither a model nor an adapter: where files can only be moved in one by
/// one, these come last.
const LAST: [&str; 2] = ["config.json", "adapter_config.json"];

/// What [`AtomicDir`] does if something stands at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse all but an empty directory, before anything is written; a link to one is followed.
    Refuse,
    /// Replace a directory or a link at the end; until then it stays. What a link points to stays for good.
    Replace,
}

/// A directory that appears under its name on [`AtomicDir::commit`]. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct AtomicDir {
    target: PathBuf,
    temporary: PathBuf,
    existing: Existing,
    /// Whether it is filled inside its target, which nothing can be renamed over.
    is_inside: bool,
    /// Tells other processes that this one is at work.
    held: Option<File>,
    committed: bool,
}

impl AtomicDir {
    /// Starts a directory that will become `target`; missing parents are made.
    ///
    /// It is filled beside its target. Where that is the root of a file system of its own, or an empty
    /// directory beside which nothing may be written, it is filled inside.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if what stands at `target` is not to be replaced, if the name is not one that a
    /// directory can have, or if another process is filling the same directory; [`Error::Io`] if its parent
    /// cannot be written to.
    pub fn create(target: &Path, existing: Existing) -> Result<Self> {
        let target = std::path::absolute(target).map_err(|error| Error::io(target, error))?;
        target::check_name(&target, "directory")?;
        let target = match existing {
            Existing::Refuse => target::follow(target)?,
            Existing::Replace => target,
        };
        let exists = check_target(&target, existing)?;
        let up = parent(&target);
        fs::create_dir_all(up).map_err(|error| Error::io(up, error))?;
        let (temporary, is_inside) = make(&target, exists && existing == Existing::Refuse)?;
        let dir = Self {
            held: temporary::hold_dir(&temporary),
            target,
            temporary,
            existing,
            is_inside,
            committed: false,
        };
        match existing {
            Existing::Refuse => dir.check_alone()?,
            Existing::Replace => {}
        }
        Ok(dir)
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
        let exists = check_target(&self.target, self.existing)?;
        // Windows renames no open directory.
        self.held = None;
        match (self.is_inside, exists) {
            (true, _) => self.move_in()?,
            (false, true) if self.existing == Existing::Replace => self.exchange()?,
            (false, _) => self.rename()?,
        }
        self.committed = true;
        let synced = sync_dir(parent(&self.target));
        synced.map_err(|error| self.failed(error))?;
        Ok(self.target.clone())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(&self.target, error)
    }

    /// Takes the place of nothing, or of an empty directory.
    fn rename(&self) -> Result<()> {
        #[cfg(not(unix))]
        // There, nothing is renamed over an empty directory.
        let _ = fs::remove_dir(&self.target);
        fs::rename(&self.temporary, &self.target).map_err(|error| self.failed(error))
    }

    /// Takes the place of what stands there, which is removed then.
    fn exchange(&self) -> Result<()> {
        let old = match exchange(&self.temporary, &self.target) {
            Ok(()) => self.temporary.clone(),
            Err(error) if cannot_exchange(&error) => self.replace()?,
            Err(error) => return Err(self.failed(error)),
        };
        if let Err(error) = remove_any(&old) {
            // The new one is in its place; the next run tidies up.
            tracing::warn!("{}: left over: {error}", old.display());
        }
        Ok(())
    }

    /// Where two directories cannot be exchanged in one step. Tells where the old one is.
    fn replace(&self) -> Result<PathBuf> {
        let up = parent(&self.target);
        let move_away = |path: &Path| fs::rename(&self.target, path);
        let ((), old) = temporary::create(up, &self.target, Purpose::Replaced, move_away)?;
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            // The old one goes back; should that fail too, it survives under its other name.
            let _ = fs::rename(&old, &self.target);
            return Err(self.failed(error));
        }
        Ok(old)
    }

    /// Moves everything from inside the target into the target itself.
    fn move_in(&self) -> Result<()> {
        let entries = fs::read_dir(&self.temporary).map_err(|error| self.failed(error))?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let mut names: Vec<_> = names
            .collect::<io::Result<_>>()
            .map_err(|error| self.failed(error))?;
        names.sort_by_key(|name| LAST.iter().any(|last| name == last));
        for name in names {
            let (from, to) = (self.temporary.join(&name), self.target.join(&name));
            fs::rename(from, to).map_err(|error| self.failed(error))?;
        }
        fs::remove_dir(&self.temporary).map_err(|error| self.failed(error))?;
        sync_dir(&self.target).map_err(|error| self.failed(error))
    }

    /// Two that fill one directory at once would mix there, or one would have worked in vain.
    fn check_alone(&self) -> Result<()> {
        let others = temporary::entries(parent(&self.temporary)).into_iter();
        let other = others
            .filter(|(path, name)| *path != self.temporary && name.is_of(&self.target))
            .find(|(path, name)| !temporary::is_abandoned(path, name));
        let Some((path, name)) = other else {
            return Ok(());
        };
        let mut detail = format!("{} is writing it", name.owner);
        if !name.owner.is_of_this_machine() {
            detail.push_str(&format!(
                ", or was when it ended; if it has, remove {}",
                path.display()
            ));
        }
        Err(Error::directory(&self.target, detail))
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Makes the directory to be filled, and tells whether it is inside the target.
fn make(target: &Path, may_be_inside: bool) -> Result<(PathBuf, bool)> {
    let make_in = |dir: &Path| {
        let made = temporary::create(dir, target, Purpose::Partial, |path| fs::create_dir(path));
        made.map(|((), path)| path)
    };
    if may_be_inside && target::is_mount_point(target) {
        return Ok((make_in(target)?, true));
    }
    match make_in(parent(target)) {
        Err(Error::Io { source, .. }) if may_be_inside && is_forbidden(&source) => {
            Ok((make_in(target)?, true))
        }
        made => Ok((made?, false)),
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Whether something stands at the target; what may not stand there is refused.
fn check_target(target: &Path, existing: Existing) -> Result<bool> {
    let is_link = || Ok::<_, Error>(target::present(target)?.is_some_and(|what| what.is_symlink()));
    match existing {
        Existing::Replace if is_link()? => Ok(true),
        Existing::Replace => target::is_there(target),
        Existing::Refuse => {
            let is_there = target::is_there(target)?;
            if is_there {
                target::check_empty(target)?;
            }
            Ok(is_there)
        }
    }
}

#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the system or the file system knows no exchange.
fn cannot_exchange(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
    )
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

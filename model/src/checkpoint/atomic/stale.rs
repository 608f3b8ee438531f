//! What killed processes left behind.

use std::fs;
use std::path::{Path, PathBuf};

use super::temporary::{self, Purpose, TemporaryName};

/// Removes from a directory what killed processes of this program left there half written, and tells what
/// it was. What is being written, what another machine's process wrote, and whatever has another kind of
/// name stays.
pub fn remove_stale(dir: &Path) -> Vec<PathBuf> {
    let found = temporary::entries(dir).into_iter();
    let abandoned = found.filter(|(path, name)| temporary::is_abandoned(path, name));
    let removed = abandoned.filter_map(|(path, name)| remove(dir, path, &name));
    let mut removed: Vec<PathBuf> = removed.collect();
    removed.sort();
    removed
}

fn remove(dir: &Path, path: PathBuf, name: &TemporaryName) -> Option<PathBuf> {
    let target = dir.join(&name.stem);
    if name.purpose == Purpose::Replaced && target.symlink_metadata().is_err() {
        // Killed between two renames: what stood there is whole, and nothing has come in its place.
        fs::rename(&path, &target).ok()?;
        return None;
    }
    remove_any(&path).ok().map(|()| path)
}

/// Removes a file, a link or a directory; what a link points to stays.
pub(super) fn remove_any(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

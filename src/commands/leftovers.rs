//! What killed runs left half written: removed at the start of the next one, and said so.

use std::path::Path;

use glmtune_model::checkpoint::remove_stale;

use super::console::note;

/// Tidies the directory in which a file or directory is to be written.
pub fn tidy_beside(target: &Path) {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => tidy(parent),
        _ => tidy(Path::new(".")),
    }
    // An output that is the root of a file system is filled from inside.
    tidy(target);
}

/// Tidies a directory.
pub fn tidy(dir: &Path) {
    remove_stale(dir).iter().for_each(|path| say_removed(path));
}

/// Says what was removed.
pub fn say_removed(path: &Path) {
    note(format!(
        "removed {}, which a killed run left half written",
        path.display()
    ));
}

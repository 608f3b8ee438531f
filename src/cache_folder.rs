//! The user's folder of what can be made again.

use std::path::PathBuf;

/// `glmtune/NAME` in the user's cache folder; nothing where the system names none.
pub fn cache_folder(name: &str) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("glmtune").join(name))
}

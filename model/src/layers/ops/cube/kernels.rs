//! Compiled kernels on disk.

use std::path::Path;
use std::sync::Arc;

use burn_cubecl::cubecl::config::cache::CacheConfig;
use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Lets CUDA kernels be kept in a folder, which must be writable, and taken from there by later processes; unless
/// `cubecl.toml` names another. Must be called before the first device is used, else it does nothing.
pub fn keep_kernels(folder: &Path) {
    let mut settings = CubeClRuntimeConfig::storage().lock();
    if settings.is_some() {
        return;
    }
    let mut found = CubeClRuntimeConfig::from_current_dir().override_from_env();
    let cache = &mut found.compilation.cache;
    cache.get_or_insert_with(|| CacheConfig::File(folder.to_path_buf()));
    *settings = Some(Arc::new(found));
}

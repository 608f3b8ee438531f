//! Where NVIDIA GPUs' compiled kernels are kept between runs: compiling them takes a minute or two.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use glmtune_model::layers::ops::cube::keep_kernels;

use super::cuda::{self, CudaCard};

/// A folder, or `off`.
const VARIABLE: &str = "GLMTUNE_KERNEL_CACHE";

/// Lets kernels for these cards, all that are visible, be compiled once for all runs of this very program. Does
/// nothing where they cannot be kept.
pub(super) fn keep(cards: &[CudaCard]) {
    // CubeCL 0.10 takes a kernel from the folder whatever card it was compiled for.
    let mut capabilities = cards.iter().map(|card| card.capability);
    let Some(capability) = capabilities.next() else {
        return;
    };
    if capabilities.any(|other| other != capability) {
        return;
    }
    let Some(folder) = root()
        .zip(name(capability))
        .map(|(root, name)| root.join(name))
    else {
        return;
    };
    // Where it could not write, CubeCL would panic.
    let trial = folder.join("writable");
    match fs::create_dir_all(&folder).and_then(|()| File::create(trial)) {
        Ok(_) => keep_kernels(&folder),
        Err(error) => tracing::info!("kernels are not kept in {}: {error}", folder.display()),
    }
}

/// The folder of all cards and programs.
fn root() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match given(VARIABLE) {
        Some(value) if value == "off" => None,
        Some(folder) => Some(PathBuf::from(folder)),
        None => {
            let home = || Some(PathBuf::from(given("HOME")?).join(".cache"));
            let caches = given("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
            caches.map(|caches| caches.join("glmtune").join("kernels"))
        }
    }
}

/// The folder of a card, its driver and this program. CubeCL knows a kernel by its name and its settings, so that
/// another build, whose kernels may compute otherwise, must not meet this one's.
fn name((major, minor): (u32, u32)) -> Option<String> {
    let program = fs::metadata(std::env::current_exe().ok()?).ok()?;
    let made = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let driver = cuda::driver_version()?;
    Some(format!(
        "{major}.{minor}-{driver}-{:x}-{:x}",
        program.len(),
        made.as_nanos()
    ))
}

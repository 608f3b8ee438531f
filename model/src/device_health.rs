//! Whether the devices can still be trusted.
//!
//! CubeCL does the work of a device on a thread of its own and catches that thread's panics: a program would
//! go on after one, with whatever is in memory. So the first failure of a device is final. [`watch`] notices
//! it, [`check`] and [`settle`] tell of it, [`guard`] turns the panics that follow from it into an error, and
//! no file or directory gets its name after it (`AtomicFile`, `AtomicDir`). [`probe`] tries a device before
//! anything depends on it.

mod failure;
mod probe;
#[cfg(debug_assertions)]
mod rehearsal;

pub use failure::{Cause, DeviceFailure};
pub use probe::probe;

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::{Once, OnceLock};
use std::thread;

use burn::tensor::backend::Backend;

use crate::error::{Error, Result};

static FAILURE: OnceLock<DeviceFailure> = OnceLock::new();

/// How CubeCL 0.10 names the threads of its devices.
const DEVICE_THREADS: [&str; 2] = ["DSU-", "DSD-"];
/// Crates in whose code a panic means that a device refused something, whichever thread asked.
const DEVICE_CRATES: [&str; 4] = ["/cubecl-", "/cudarc-", "/wgpu-", "/burn-cubecl-"];
/// How Burn's panic begins when a tensor cannot be read.
const UNREADABLE: &str = "Error while reading data";

/// From here on, a panic that a device causes is remembered in place of being printed; so are those that
/// follow from it. All others are treated as before. For the start of a program.
pub fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if comes_from_a_device(info) {
                report(&text(info));
            } else if FAILURE.get().is_none() {
                before(info);
            }
        }));
    });
}

fn comes_from_a_device(info: &PanicHookInfo<'_>) -> bool {
    let thread = thread::current();
    let is_device_thread = thread.name().is_some_and(|name| {
        DEVICE_THREADS
            .iter()
            .any(|beginning| name.starts_with(beginning))
    });
    let file = info.location().map_or("", |location| location.file());
    let file = file.replace('\\', "/");
    is_device_thread
        || DEVICE_CRATES.iter().any(|name| file.contains(name))
        || text(info).starts_with(UNREADABLE)
}

fn text(info: &PanicHookInfo<'_>) -> String {
    info.payload_as_str()
        .unwrap_or("no reason given")
        .to_string()
}

/// Remembers that a device has failed, in the device's words. The first failure counts: it causes the others.
pub fn report(text: &str) {
    tracing::debug!("device failure: {text}");
    let _ = FAILURE.set(DeviceFailure::of(text));
}

/// The failure, if a device has failed.
pub fn failure() -> Option<&'static DeviceFailure> {
    FAILURE.get()
}

/// Asks whether a device has failed so far.
///
/// # Errors
/// [`Error::Device`] if one has.
pub fn check() -> Result<()> {
    match FAILURE.get() {
        None => Ok(()),
        Some(failure) => Err(Error::Device(failure.clone())),
    }
}

/// Waits until the devices have done what this thread gave them, and asks whether all of it went well.
///
/// # Errors
/// As [`check`].
pub fn settle<B: Backend>(devices: &[B::Device]) -> Result<()> {
    #[cfg(debug_assertions)]
    rehearsal::perform(DEVICE_THREADS[0]);
    for device in devices {
        if let Err(error) = B::sync(device) {
            report(&error.to_string());
        }
    }
    check()
}

/// As [`settle`], for who has just read what was last asked of each device: that has waited for it, and found
/// what had gone wrong.
///
/// # Errors
/// As [`check`].
pub fn settled() -> Result<()> {
    #[cfg(debug_assertions)]
    rehearsal::perform(DEVICE_THREADS[0]);
    check()
}

/// Does some work, whose result is an error if a device fails meanwhile, even where that ends in a panic.
///
/// # Errors
/// That of the work, or [`Error::Device`].
pub fn guard<T, E: From<Error>>(
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    match (outcome, check()) {
        (Ok(Ok(_)) | Err(_), Err(failure)) => Err(failure.into()),
        (Ok(result), _) => result,
        (Err(panic), Ok(())) => resume_unwind(panic),
    }
}

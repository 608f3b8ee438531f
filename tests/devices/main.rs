//! Devices other than the CPU: that their kernels compute what Burn's operations do, and what the library makes of
//! one that fails. A failed device stays failed, so each test of that does its work in a process of its own.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

// One of its references is the CPU.
#[cfg(feature = "cuda")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(feature = "flex", any(feature = "wgpu", feature = "cuda")))]
mod kernels;
#[cfg(feature = "cuda")]
mod software_cuda;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::process::Command;
use std::thread;

use glmtune::model::checkpoint::{AtomicDir, AtomicFile, Existing};
use glmtune::model::device_health::{Cause, check, failure, guard, watch};
use glmtune::model::error::{Error, Result};

/// Runs a test of this program that is ignored otherwise, in a process of its own.
fn alone(name: &str) {
    let program = std::env::current_exe().unwrap();
    let run = Command::new(program)
        .args([name, "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Asserts that neither a file nor a directory gets its name any more.
fn assert_nothing_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    assert!(matches!(
        AtomicFile::write(&file, b"x"),
        Err(Error::Device(_))
    ));
    let dir = folder.path().join("dir");
    let result = AtomicDir::create(&dir, Existing::Replace).unwrap().commit();
    assert!(matches!(result, Err(Error::Device(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn panic_on(name: &str, words: &'static str) {
    let named = thread::Builder::new().name(name.to_string());
    let thread = named.spawn(move || std::panic::panic_any(words)).unwrap();
    assert!(thread.join().is_err());
}

#[test]
fn a_panic_of_a_device_thread_is_final() {
    alone("process_of_a_panic_on_a_device_thread");
}

#[test]
#[ignore = "a process of its own"]
fn process_of_a_panic_on_a_device_thread() {
    watch();
    // What other threads do is not the failure of a device.
    panic_on("worker", "a mistake");
    check().unwrap();
    let folder = tempfile::tempdir().unwrap();
    AtomicFile::write(&folder.path().join("file"), b"x").unwrap();
    let kept: Result<u32> = guard(|| Ok(7));
    assert_eq!(kept.unwrap(), 7);

    // CubeCL's names of the threads of a device.
    panic_on("DSU-0-1", "CUDA_ERROR_OUT_OF_MEMORY");
    panic_on("DSD-0-1", "what comes of it");
    assert_eq!(failure().unwrap().cause, Cause::OutOfMemory);
    let result: Result<u32> = guard(|| Ok(7));
    assert!(matches!(result, Err(Error::Device(_))));
    let result: Result<u32> = guard(|| std::panic::panic_any("a result was not there"));
    assert!(matches!(result, Err(Error::Device(_))));
    assert_nothing_is_saved();
}

/// A panic that no device causes goes on as it did.
#[test]
fn a_mistake_is_not_a_failure_of_a_device() {
    let outcome =
        std::panic::catch_unwind(|| guard::<(), Error>(|| std::panic::panic_any("a mistake")));
    assert!(outcome.is_err());
    check().unwrap();
}

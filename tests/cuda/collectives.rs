//! The device's own tests: several devices, copies between them, and NCCL with threads and processes as ranks.

use std::process::Command;

use crate::common::software_cuda::libraries;

fn collectives(defer: bool) {
    let Some(libraries) = libraries() else { return };
    let mut command = Command::new(libraries.join("collectives"));
    if defer {
        command.env("SOFTWARE_CUDA_DEFER", "1");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("all checks hold"), "{said}");
}

#[test]
fn at_once() {
    collectives(false);
}

/// Work waits until the host waits for it.
#[test]
fn deferred() {
    collectives(true);
}

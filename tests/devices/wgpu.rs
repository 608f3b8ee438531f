//! A GPU through wgpu, or Mesa's software Vulkan.

use burn::tensor::{DType, Tensor};
use burn_wgpu::{Wgpu, WgpuDevice};
use glmtune::model::device_health::{Cause, check, failure, guard, probe, settle, watch};
use glmtune::model::error::{Error, Result};

use crate::{alone, assert_nothing_is_saved};

/// Whether there is an adapter; CI installs a software Vulkan, so there it must be one.
pub fn available() -> bool {
    let found = !glmtune::backend::wgpu_adapters().is_empty();
    let required = std::env::var_os("CI").is_some();
    assert!(found || !required, "CI is set, and wgpu finds no adapter");
    if !found {
        eprintln!("skipped: this machine has no wgpu device");
    }
    found
}

#[test]
fn a_device_that_works_passes_its_trial() {
    if available() {
        probe::<Wgpu>(&WgpuDevice::default(), DType::F32).unwrap();
    }
}

#[test]
fn out_of_memory() {
    if available() {
        alone("wgpu::process_out_of_memory");
    }
}

#[test]
#[ignore = "a process of its own"]
fn process_out_of_memory() {
    watch();
    let device = WgpuDevice::default();
    probe::<Wgpu>(&device, DType::F32).unwrap();
    settle::<Wgpu>(std::slice::from_ref(&device)).unwrap();
    check().unwrap();
    let result: Result<()> = guard(|| {
        // More than any device of these days has.
        let large = Tensor::<Wgpu, 2>::zeros([1 << 20, 1 << 20], &device);
        let small = Tensor::<Wgpu, 1>::zeros([4], &device);
        drop(large + 1.0);
        settle::<Wgpu>(std::slice::from_ref(&device))?;
        drop(small.into_data());
        Ok(())
    });
    assert!(matches!(result, Err(Error::Device(_))), "{result:?}");
    assert_eq!(
        failure().unwrap().cause,
        Cause::OutOfMemory,
        "{:?}",
        failure()
    );
    assert_nothing_is_saved();
}

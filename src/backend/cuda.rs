//! NVIDIA GPUs: which there are, and which a run takes.

use cudarc::driver::result::{self, DriverError, device};
use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
};
use glmtune_model::error::{Error, Result};

/// An NVIDIA GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaCard {
    /// Its number among those that `CUDA_VISIBLE_DEVICES` shows.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability, major and minor number.
    pub capability: (u32, u32),
}

/// Number of NVIDIA GPUs that are visible; 0 where the driver is not installed.
pub fn cuda_devices() -> usize {
    // SAFETY: only looks for the driver's library by its names.
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    if !present {
        return 0;
    }
    let count = cudarc::driver::CudaContext::device_count();
    count.map_or(0, |count| count.max(0) as usize)
}

/// The card of an index.
pub(super) fn one(index: usize) -> Result<CudaCard> {
    match cuda_devices() {
        0 => Err(none()),
        count if index >= count => Err(Error::Request(format!(
            "there is no CUDA device {index}; this machine has {count}{}",
            visible()
        ))),
        _ => card(index),
    }
}

/// All cards that are visible.
pub(super) fn all() -> Result<Vec<CudaCard>> {
    let count = cuda_devices();
    if count == 0 {
        return Err(none());
    }
    (0..count).map(one).collect()
}

fn none() -> Error {
    Error::Request(format!(
        "this machine has no CUDA device, or no NVIDIA driver{}",
        visible()
    ))
}

/// What hides devices, where something does.
fn visible() -> String {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) => format!(" (CUDA_VISIBLE_DEVICES is `{}`)", list.escape_debug()),
        Err(_) => String::new(),
    }
}

/// The newest version of CUDA that the driver serves, as it counts them.
pub(super) fn driver_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: writes one number.
    let code = unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) };
    code.result().ok().map(|()| version)
}

/// Bytes of a card's memory.
pub(super) fn memory(index: usize) -> Option<u64> {
    result::init().ok()?;
    let handle = device::get(index as i32).ok()?;
    // SAFETY: the handle is the driver's own.
    let bytes = unsafe { device::total_mem(handle) }.ok()?;
    Some(bytes as u64)
}

fn card(index: usize) -> Result<CudaCard> {
    let read = || -> std::result::Result<CudaCard, DriverError> {
        result::init()?;
        let handle = device::get(index as i32)?;
        // SAFETY: the handle is the driver's own.
        let (major, minor) = unsafe {
            (
                device::get_attribute(handle, MAJOR)?,
                device::get_attribute(handle, MINOR)?,
            )
        };
        Ok(CudaCard {
            index,
            name: device::get_name(handle)?,
            capability: (major.unsigned_abs(), minor.unsigned_abs()),
        })
    };
    read().map_err(|error| Error::Compute(format!("CUDA device {index} cannot be used: {error}")))
}

//! Which backends this machine has, and which one a run gets.

use std::fmt;

use glmtune_model::error::{Error, Result};

/// The backend that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The best that the machine has: cuda, then a GPU through wgpu, then flex.
    #[default]
    Auto,
    /// NVIDIA GPUs.
    Cuda,
    /// Vulkan, Metal or WebGPU.
    Wgpu,
    /// The CPU.
    Flex,
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cuda => "cuda",
            Self::Wgpu => "wgpu",
            Self::Flex => "flex",
        })
    }
}

/// The backend that a run gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// The CPU.
    #[cfg(feature = "flex")]
    Flex,
    /// A GPU through wgpu.
    #[cfg(feature = "wgpu")]
    Wgpu(WgpuAdapter),
    /// The NVIDIA GPU of this index.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => write!(f, "flex (CPU, {} threads)", threads()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(adapter) => write!(f, "wgpu ({})", adapter.name),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => write!(f, "cuda (device {index})"),
        }
    }
}

/// A backend of this build for code that needs a type and computes nothing (names and shapes).
#[cfg(feature = "flex")]
pub type AnyBackend = burn_flex::Flex;
/// A backend of this build for code that needs a type and computes nothing (names and shapes).
#[cfg(all(feature = "wgpu", not(feature = "flex")))]
pub type AnyBackend = burn_wgpu::Wgpu;
/// A backend of this build for code that needs a type and computes nothing (names and shapes).
#[cfg(all(feature = "cuda", not(any(feature = "flex", feature = "wgpu"))))]
pub type AnyBackend = burn_cuda::Cuda;
#[cfg(not(any(feature = "flex", feature = "wgpu", feature = "cuda")))]
compile_error!("glmtune needs a backend: enable the feature flex, wgpu or cuda");

/// Runs generic code on the selected backend: `on_backend!(selected, |device: B| body)`.
///
/// The one place where generic code meets concrete backends.
#[macro_export]
macro_rules! on_backend {
    ($selected:expr, |$device:ident : $backend:ident| $body:expr) => {
        match $selected {
            #[cfg(feature = "flex")]
            $crate::backend::Selected::Flex => {
                type $backend = burn_flex::Flex;
                let $device = burn_flex::FlexDevice;
                $body
            }
            #[cfg(feature = "wgpu")]
            $crate::backend::Selected::Wgpu(adapter) => {
                type $backend = burn_wgpu::Wgpu;
                let $device = adapter.device.clone();
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::backend::Selected::Cuda(index) => {
                type $backend = burn_cuda::Cuda;
                let $device = burn_cuda::CudaDevice::new(*index);
                $body
            }
        }
    };
}

/// Runs generic code on the devices selected, which are of one backend:
/// `on_devices!(selected, |devices: B| body)` with `devices: Vec<B::Device>`.
#[macro_export]
macro_rules! on_devices {
    ($selected:expr, |$devices:ident : $backend:ident| $body:expr) => {{
        let selected: &[$crate::backend::Selected] = $selected;
        $crate::on_backend!(&selected[0], |first: $backend| {
            let $devices = $crate::backend::devices_of(selected, first);
            $body
        })
    }};
}

/// The devices of some selections of one backend; `first` is that of the first.
pub fn devices_of<D: Clone + PartialEq + 'static>(selected: &[Selected], first: D) -> Vec<D> {
    let device = |selected: &Selected| -> Option<D> {
        let device: Box<dyn std::any::Any> = match selected {
            #[cfg(feature = "flex")]
            Selected::Flex => Box::new(burn_flex::FlexDevice),
            #[cfg(feature = "wgpu")]
            Selected::Wgpu(adapter) => Box::new(adapter.device.clone()),
            #[cfg(feature = "cuda")]
            Selected::Cuda(index) => Box::new(burn_cuda::CudaDevice::new(*index)),
        };
        device.downcast().ok().map(|device| *device)
    };
    let others = selected[1..].iter();
    let others = others.map(|other| device(other).unwrap_or_else(|| first.clone()));
    std::iter::once(first.clone()).chain(others).collect()
}

#[cfg(feature = "flex")]
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps Mesa's Vulkan layer from asking a display server which device draws windows: a program that opens
/// none gains nothing from it, and without a display it complains on standard error.
///
/// # Safety
/// No other thread may exist yet: the environment is shared by all.
pub unsafe fn quiet_vulkan_layers() {
    const SWITCH: &str = "NODEVICE_SELECT";
    if std::env::var_os(SWITCH).is_none() {
        // SAFETY: by the caller's promise.
        unsafe { std::env::set_var(SWITCH, "1") };
    }
}

/// Picks a backend and its first device.
///
/// # Errors
/// If the build lacks the backend, or the machine a device of it.
pub fn select(choice: BackendChoice, devices: &[usize]) -> Result<Selected> {
    let index = devices.first().copied().unwrap_or(0);
    match choice {
        BackendChoice::Auto => best(index),
        BackendChoice::Flex => flex(),
        BackendChoice::Wgpu => wgpu(index),
        BackendChoice::Cuda => cuda(index),
    }
}

/// Picks a backend and several of its devices; on the CPU, as many replicas.
///
/// # Errors
/// As [`select`].
pub fn select_all(choice: BackendChoice, devices: &[usize]) -> Result<Vec<Selected>> {
    match devices {
        [] => Ok(vec![select(choice, &[])?]),
        devices => devices
            .iter()
            .map(|&index| select(choice, &[index]))
            .collect(),
    }
}

fn best(index: usize) -> Result<Selected> {
    #[cfg(feature = "cuda")]
    if cuda_devices() > 0 {
        return cuda(index);
    }
    #[cfg(feature = "wgpu")]
    if wgpu_adapters()
        .first()
        .is_some_and(|adapter| adapter.is_gpu)
    {
        return wgpu(index);
    }
    flex().or_else(|_| wgpu(index))
}

#[cfg(not(all(feature = "flex", feature = "wgpu", feature = "cuda")))]
fn lacking(name: &str) -> Error {
    Error::Request(format!(
        "this build of glmtune has no {name} backend (build it with `--features {name}`)"
    ))
}

#[cfg(feature = "flex")]
fn flex() -> Result<Selected> {
    Ok(Selected::Flex)
}

#[cfg(not(feature = "flex"))]
fn flex() -> Result<Selected> {
    Err(lacking("flex"))
}

/// An adapter that wgpu found.
#[cfg(feature = "wgpu")]
#[derive(Debug, Clone, PartialEq)]
pub struct WgpuAdapter {
    /// Its name.
    pub name: String,
    /// Whether it is a GPU and no software renderer.
    pub is_gpu: bool,
    /// How Burn addresses it.
    pub device: burn_wgpu::WgpuDevice,
}

/// The adapters of this machine, GPUs first.
#[cfg(feature = "wgpu")]
pub fn wgpu_adapters() -> Vec<WgpuAdapter> {
    use burn_wgpu::WgpuDevice;
    use wgpu::DeviceType;

    // The interfaces that Burn's runtime uses; OpenGL is none of them.
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let found = pollster::block_on(instance.enumerate_adapters(backends));
    let mut counts = [0usize; 3];
    let mut next = |kind: usize| {
        counts[kind] += 1;
        counts[kind] - 1
    };
    let mut adapters: Vec<WgpuAdapter> = found
        .iter()
        .map(|adapter| {
            let info = adapter.get_info();
            let device = match info.device_type {
                DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(next(0)),
                DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(next(1)),
                DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(next(2)),
                DeviceType::Cpu => WgpuDevice::Cpu,
                DeviceType::Other => WgpuDevice::DefaultDevice,
            };
            WgpuAdapter {
                name: info.name,
                is_gpu: info.device_type != DeviceType::Cpu,
                device,
            }
        })
        .collect();
    adapters.sort_by_key(|adapter| !adapter.is_gpu);
    adapters
}

#[cfg(feature = "wgpu")]
fn wgpu(index: usize) -> Result<Selected> {
    let adapters = wgpu_adapters();
    let count = adapters.len();
    let adapter = adapters.into_iter().nth(index);
    adapter.map(Selected::Wgpu).ok_or_else(|| {
        Error::Request(match count {
            0 => "wgpu finds no Vulkan, Metal or DirectX device on this machine (on Debian, \
                  `mesa-vulkan-drivers` brings a software one)"
                .to_string(),
            _ => format!("there is no wgpu device {index}; this machine has {count}"),
        })
    })
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_index: usize) -> Result<Selected> {
    Err(lacking("wgpu"))
}

/// Number of NVIDIA GPUs; 0 where the driver is not installed.
#[cfg(feature = "cuda")]
pub fn cuda_devices() -> usize {
    // SAFETY: only looks for the driver's library by its names.
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    if !present {
        return 0;
    }
    let count = cudarc::driver::CudaContext::device_count();
    count.map_or(0, |count| count.max(0) as usize)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Selected> {
    match cuda_devices() {
        0 => Err(Error::Request(
            "this machine has no CUDA device, or no NVIDIA driver".to_string(),
        )),
        count if index >= count => Err(Error::Request(format!(
            "there is no CUDA device {index}; this machine has {count}"
        ))),
        _ => Ok(Selected::Cuda(index)),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Selected> {
    Err(lacking("cuda"))
}

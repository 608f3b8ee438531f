//! Which backends this machine has, and which one a run gets.

pub mod cards;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod kernel_cache;
pub mod types;

#[cfg(feature = "cuda")]
pub use cuda::{CudaCard, cuda_devices};

use std::fmt;

use burn::tensor::DType;
use glmtune_model::GlmBackend;
use glmtune_model::device_health;
use glmtune_model::error::{Error, Result};
use glmtune_training::parallel::processes::ranks::HostPlace;

use crate::kernel_table;

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
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaCard),
}

impl Selected {
    /// The compute capability of an NVIDIA GPU.
    pub fn capability(&self) -> Option<(u32, u32)> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(card) => Some(card.capability),
            #[cfg(any(feature = "flex", feature = "wgpu"))]
            _ => None,
        }
    }

    /// Bytes of the device's own memory, where that is known.
    pub fn memory(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(card) => cuda::memory(card.index),
            #[cfg(any(feature = "flex", feature = "wgpu"))]
            _ => None,
        }
    }

    /// The cards of its kind that this process sees; none where it is the processor, which all processes share.
    fn cards(&self) -> Option<usize> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => None,
            #[cfg(feature = "wgpu")]
            Self::Wgpu(adapter) => {
                let count = || wgpu_adapters().iter().filter(|other| other.is_gpu).count();
                adapter.is_gpu.then(count)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Some(cuda_devices()),
        }
    }

    /// Whether it is the CPU, which needs no driver.
    pub fn is_cpu(&self) -> bool {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => true,
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            _ => false,
        }
    }
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => write!(f, "flex (CPU, {} threads)", threads()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(adapter) => write!(f, "wgpu ({})", adapter.name),
            #[cfg(feature = "cuda")]
            Self::Cuda(card) => write!(f, "cuda (device {}: {})", card.index, card.name),
        }
    }
}

/// The devices of a run, in words.
pub fn describe(selected: &[Selected]) -> String {
    match selected {
        [] => "no device".to_string(),
        [one] => one.to_string(),
        #[cfg(feature = "cuda")]
        [Selected::Cuda(first), ..] => {
            let cards = selected.iter().filter_map(|selected| match selected {
                Selected::Cuda(card) => Some(card),
                #[cfg(any(feature = "flex", feature = "wgpu"))]
                _ => None,
            });
            let (indexes, mut names): (Vec<String>, Vec<&str>) = cards
                .map(|card| (card.index.to_string(), card.name.as_str()))
                .unzip();
            names.dedup();
            let names = match names.len() {
                0 | 1 => first.name.clone(),
                _ => names.join(", "),
            };
            format!("cuda (devices {}: {names})", indexes.join(", "))
        }
        [first, ..] => format!("{} devices, the first: {first}", selected.len()),
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
            $crate::backend::Selected::Cuda(card) => {
                type $backend = burn_cuda::Cuda;
                let $device = burn_cuda::CudaDevice::new(card.index);
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
            Selected::Cuda(card) => Box::new(burn_cuda::CudaDevice::new(card.index)),
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

/// Lets GPUs compute with the kernels of this project, as they do from the start, or with Burn's operations. For
/// the whole process, before its first operation on a device.
pub fn set_fused(fused: bool) {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    glmtune_model::layers::ops::cube::set_fused(fused);
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    let _ = fused;
}

/// Picks a backend and its first device.
///
/// # Errors
/// If the build lacks the backend, or the machine a device of it.
pub fn select(choice: BackendChoice, devices: &[usize]) -> Result<Selected> {
    let index = devices.first().copied().unwrap_or(0);
    let selected = match choice {
        BackendChoice::Auto => best(index),
        BackendChoice::Flex => flex(),
        BackendChoice::Wgpu => wgpu(index),
        BackendChoice::Cuda => cuda(index),
    }?;
    tracing::info!("backend: {selected}, for --backend {choice}");
    Ok(selected)
}

/// Picks a backend and the devices of a training: those that are named (on the CPU, as many replicas), else the
/// first, else on CUDA all that are visible, as other launchers do. Where several processes share a host, `place` is
/// this one's among them: each takes one device, on the CPU all the same.
///
/// # Errors
/// As [`select`], and if the host has fewer cards than processes.
pub fn select_all(
    choice: BackendChoice,
    devices: &[usize],
    place: Option<HostPlace>,
) -> Result<Vec<Selected>> {
    if let Some(place) = place {
        return select_one(choice, devices, place).map(|selected| vec![selected]);
    }
    let named = devices.iter().map(|&index| select(choice, &[index]));
    match devices {
        [] => own_devices(select(choice, &[])?),
        _ => named.collect(),
    }
}

/// The device of one of several processes of a host.
fn select_one(choice: BackendChoice, named: &[usize], place: HostPlace) -> Result<Selected> {
    let first = select(choice, &[])?;
    let Some(visible) = first.cards() else {
        return Ok(first);
    };
    let shown = std::env::var(cards::VISIBLE).ok();
    select(
        choice,
        &[cards::of(place, named, visible, shown.as_deref())?],
    )
}

#[cfg(feature = "cuda")]
fn own_devices(first: Selected) -> Result<Vec<Selected>> {
    match first {
        Selected::Cuda(_) => Ok(cuda::all()?.into_iter().map(Selected::Cuda).collect()),
        #[cfg(any(feature = "flex", feature = "wgpu"))]
        _ => Ok(vec![first]),
    }
}

#[cfg(not(feature = "cuda"))]
fn own_devices(first: Selected) -> Result<Vec<Selected>> {
    Ok(vec![first])
}

/// Lets devices compute something whose result is known, before a run depends on them, and from then on by the
/// kernels that were measured on them; the CPU needs neither.
///
/// # Errors
/// What failed, and what can be done about it.
pub fn probe<B: GlmBackend>(
    selected: &[Selected],
    devices: &[B::Device],
    dtype: DType,
) -> Result<()> {
    let on_trial = selected.iter().zip(devices);
    for (_, device) in on_trial.filter(|(selected, _)| !selected.is_cpu()) {
        device_health::probe::<B>(device, dtype)?;
    }
    let on_trial = selected.iter().filter(|selected| !selected.is_cpu());
    kernel_table::install(&on_trial.map(ToString::to_string).collect::<Vec<_>>());
    Ok(())
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
    /// Whether it is a GPU, not a software renderer.
    pub is_gpu: bool,
    /// How Burn addresses it.
    pub device: burn_wgpu::WgpuDevice,
}

/// The adapters of this machine, GPUs first.
#[cfg(feature = "wgpu")]
pub fn wgpu_adapters() -> Vec<WgpuAdapter> {
    use burn_wgpu::WgpuDevice;
    use wgpu::DeviceType;

    // The interfaces that Burn's runtime uses; OpenGL is not one of them.
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

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Selected> {
    let card = cuda::one(index)?;
    kernel_cache::keep(&cuda::all()?);
    Ok(Selected::Cuda(card))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Selected> {
    Err(lacking("cuda"))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_one_device_unless_several_are_named() {
        let count = |devices: &[usize], place| {
            let selected = select_all(BackendChoice::Flex, devices, place);
            selected.map(|selected| selected.len()).unwrap_or(0)
        };
        assert_eq!(count(&[], None), 1);
        assert_eq!(count(&[0, 1, 2], None), 3);
        // Processes share it.
        let place = Some(HostPlace { rank: 3, size: 4 });
        assert_eq!(count(&[], place), 1);
        assert_eq!(count(&[0, 1], place), 1);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn several_cards_are_described_together() {
        let card = |index, name: &str| {
            Selected::Cuda(CudaCard {
                index,
                name: name.to_string(),
                capability: (8, 0),
            })
        };
        let same = [card(0, "A100"), card(2, "A100")];
        assert_eq!(describe(&same), "cuda (devices 0, 2: A100)");
        let others = [card(0, "A100"), card(1, "T4")];
        assert_eq!(describe(&others), "cuda (devices 0, 1: A100, T4)");
        assert_eq!(describe(&same[1..]), "cuda (device 2: A100)");
    }
}

//! `glmtune doctor`: what this machine and this build offer, and what a run would use.

use std::path::Path;

use burn::tensor::DType;
use glmtune_model::GlmBackend;
use sysinfo::{Disks, MemoryRefreshKind, RefreshKind, System};

use super::error::Result;
use super::report::Report;
use super::session::type_name;
use crate::backend::{BackendChoice, Selected, select};
use crate::cli::DoctorArgs;
use crate::on_backend;

/// Devices of one backend that are looked for.
const MAX_DEVICES: usize = 64;
/// The compute types, the preferred one first.
const TYPES: [DType; 3] = [DType::BF16, DType::F16, DType::F32];
/// The release of Burn that this program is built on, as the workspace pins it.
const BURN: &str = "0.21.0";

/// Runs the command.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let report = Report::new()
        .with("glmtune", env!("CARGO_PKG_VERSION"))
        .with("burn", BURN)
        .with("system", system())
        .with("would be used", chosen())
        .with("devices", devices())
        .with("memory", memory())
        .with("disk", disks());
    report.write(&mut std::io::stdout().lock(), args.json)
}

fn system() -> String {
    let name = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_string());
    format!("{name}, {}", std::env::consts::ARCH)
}

/// What `--backend auto` gives, and by which rule.
fn chosen() -> Report {
    let why = "cuda if there is a device, then a GPU through wgpu, then the CPU; --backend and --devices choose \
               otherwise";
    match select(BackendChoice::Auto, &[]) {
        Ok(selected) => Report::new()
            .with("device", selected.to_string())
            .with(
                "type of a published half-precision model",
                best_type(&selected),
            )
            .with("why", why),
        Err(error) => Report::from(error.to_string()),
    }
}

fn best_type(selected: &Selected) -> Report {
    types(selected).into_iter().next().into()
}

/// Every backend with its devices and their types, or the reason why there are none.
fn devices() -> Report {
    let choices = [
        BackendChoice::Cuda,
        BackendChoice::Wgpu,
        BackendChoice::Flex,
    ];
    choices.into_iter().fold(Report::new(), |report, choice| {
        report.with(choice.to_string(), devices_of(choice))
    })
}

fn devices_of(choice: BackendChoice) -> Report {
    // Every index is the one CPU.
    let count = match choice {
        BackendChoice::Flex => 1,
        _ => MAX_DEVICES,
    };
    let mut report = Report::new();
    for index in 0..count {
        match select(choice, &[index]) {
            Ok(selected) => report.add(
                index.to_string(),
                Report::new()
                    .with("name", selected.to_string())
                    .with("types", Report::List(types(&selected))),
            ),
            Err(error) if index == 0 => return Report::from(error.to_string()),
            Err(_) => break,
        }
    }
    report
}

/// The types that a device computes in, or stores.
fn types(selected: &Selected) -> Vec<String> {
    on_backend!(selected, |device: B| supported::<B>(&device))
}

fn supported<B: GlmBackend>(device: &B::Device) -> Vec<String> {
    let supported = TYPES
        .into_iter()
        .filter(|&dtype| B::supports_dtype(device, dtype));
    supported
        .map(|dtype| type_name(dtype).to_string())
        .collect()
}

fn memory() -> Report {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
    Report::new()
        .with("all", Report::Bytes(system.total_memory()))
        .with("available", Report::Bytes(system.available_memory()))
}

/// Free space where outputs would go, and where encoded rows are kept.
fn disks() -> Report {
    let disks = Disks::new_with_refreshed_list();
    let mut report = Report::new();
    let here = std::env::current_dir().ok();
    let cache = super::train::default_cache();
    for (name, path) in [("here", here), ("cache of encoded rows", cache)] {
        let Some(path) = path else { continue };
        let free = free_at(&disks, &path).map_or(Report::Nothing, Report::Bytes);
        let place = Report::new()
            .with("path", path.display().to_string())
            .with("free", free);
        report.add(name, place);
    }
    report
}

/// Free space of the file system that a path lies on: the one mounted nearest above it.
fn free_at(disks: &Disks, path: &Path) -> Option<u64> {
    let above = disks
        .iter()
        .filter(|disk| path.starts_with(disk.mount_point()));
    above
        .max_by_key(|disk| disk.mount_point().components().count())
        .map(sysinfo::Disk::available_space)
}

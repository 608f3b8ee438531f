//! One measurement, in a process of its own: its memory is nobody else's, and if it runs out nothing else ends.

use burn::tensor::DType;
use glmtune_model::model_info::ModelSource;
use glmtune_model::{FloatType, GlmBackend, ModelInfo};
use glmtune_training::TrainingBackend;

use super::case::Work;
use super::clock::Clock;
use super::measured::Measured;
use super::place::Place;
use super::{answers, ceilings, loading, products, training, transfers, update};
use crate::backend::types::Devices;
use crate::backend::{Selected, probe, select_all};
use crate::cli::BenchArgs;
use crate::commands::console::{json_line, note};
use crate::commands::error::{Error, Result};
use crate::commands::process;
use crate::commands::session::type_name;
use crate::on_devices;

/// Measures what a process was started for, and writes what it finds to standard output.
///
/// # Errors
/// If the model cannot be loaded, the device lacks the type, or something fails.
pub fn run(args: &BenchArgs, work: &str) -> Result<()> {
    let clock = Clock::start(args.seconds.unwrap_or(0.0));
    let wrong = |error| Error::Request(format!("--measure: {error}"));
    let work: Work = serde_json::from_str(work).map_err(wrong)?;
    let (Some(dir), Some(folder)) = (&args.model_name_or_path, &args.work_dir) else {
        let needs = "--measure needs --model_name_or_path and --work_dir";
        return Err(Error::Request(needs.to_string()));
    };
    let source = ModelSource {
        mode: args.mode,
        ..ModelSource::new(dir)
    };
    let info = ModelInfo::read(source, &mut |line| note(line))?;
    let selected = devices(args)?;
    let measured = on_devices!(&selected, |devices: B| {
        let dtype = choose_type::<B>(args, &info, &selected, &devices)?;
        probe::<B>(&selected, &devices, dtype)?;
        let place = Place::<B> {
            info: &info,
            selected: &selected,
            devices: &devices,
            dtype,
            folder,
            clock,
        };
        measure(&place, &work)?
    });
    json_line(&mut std::io::stdout().lock(), &measured)
}

/// The devices that are named, or the first one.
///
/// # Errors
/// If there is none.
pub fn devices(args: &BenchArgs) -> Result<Vec<Selected>> {
    let mut selected = select_all(args.compute.backend, &args.compute.devices, None)?;
    if args.compute.devices.is_empty() {
        selected.truncate(1);
    }
    Ok(selected)
}

/// As a training chooses it.
fn choose_type<B: GlmBackend>(
    args: &BenchArgs,
    info: &ModelInfo,
    selected: &[Selected],
    devices: &[B::Device],
) -> Result<DType> {
    let devices = Devices::<B> { selected, devices };
    if let Some(precision) = args.compute.dtype {
        return Ok(devices.require(precision.into())?);
    }
    let published = info.config.common().torch_dtype;
    Ok(match published.is_some_and(FloatType::is_half) {
        true => devices.first_of(&[DType::BF16, DType::F16]),
        false => DType::F32,
    })
}

fn measure<B: TrainingBackend>(place: &Place<'_, B>, work: &Work) -> Result<Measured> {
    let measured = match work {
        Work::Machine => ceilings::measure(place)?,
        Work::Train(case) => vec![training::measure(place, case)?],
        Work::Prefill(case) => vec![answers::prefill(place, case)?],
        Work::Decode(case) => vec![answers::decode(place, case)?],
        Work::Load => vec![loading::measure(place)?],
        Work::Update => update::measure(place)?,
        Work::Collectives => transfers::measure(place)?,
        Work::Kernels(case) => products::measure(place, case)?,
    };
    Ok(Measured {
        dtype: type_name(place.dtype).to_string(),
        peak_bytes: process::peak_bytes(std::process::id()),
        pool_bytes: B::glm_memory_in_use(place.device()),
        measured,
    })
}

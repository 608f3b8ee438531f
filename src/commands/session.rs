//! A model with its tokenizer, ready for prompts: what `generate`, `chat` and `score` start from.

use std::time::{Duration, Instant};

use burn::tensor::DType;
use glmtune_model::device_health::settle;
use glmtune_model::model_info::ModelSource;
use glmtune_model::rows::Prompting;
use glmtune_model::{CausalLm, FloatType, GlmBackend, ModelConfig, ModelInfo};

use super::console::{note, progress_bar};
use super::error::Result;
use crate::backend::types::Devices;
pub use crate::backend::types::type_name;
use crate::backend::{Selected, describe, probe};
use crate::cli::{ModelArgs, Precision};

impl From<Precision> for FloatType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::F16 => Self::F16,
        }
    }
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        FloatType::from(precision).into()
    }
}

/// Reads what is known of a model before its weights, and says what is worth a line.
pub fn open(args: &ModelArgs) -> Result<ModelInfo> {
    let source = ModelSource {
        dir: args.model_name_or_path.clone(),
        adapters: args.adapter.clone(),
        mode: args.mode,
        force: args.force,
    };
    Ok(ModelInfo::read(source, &mut |line| note(line))?)
}

/// Says how questions become prompts where it is not as published.
pub fn say_prompting(prompting: &Prompting) {
    if !prompting.is_unlike_published() {
        return;
    }
    let before = match prompting.prompt_text() {
        "" => String::new(),
        text => format!(", after the text that stood before every row: {text}"),
    };
    note(format!(
        "prompts as in the training{before} (--prompt_format published for those of the published chat)"
    ));
}

/// A loaded model.
#[derive(Debug)]
pub struct Session<B: GlmBackend> {
    /// The model, adapters attached.
    pub model: CausalLm<B>,
    /// Type of weights and activations.
    pub dtype: DType,
    /// How long loading took.
    pub load_time: Duration,
}

impl<B: GlmBackend> Session<B> {
    /// Loads the weights and attaches the adapters.
    pub fn load(
        info: &ModelInfo,
        args: &ModelArgs,
        selected: &Selected,
        device: &B::Device,
    ) -> Result<Self> {
        let dtype = compute_type::<B>(info, args, selected, device)?;
        Self::load_in(dtype, info, selected, device)
    }

    /// Loads the weights in a type, which is that of [`compute_type`], and attaches the adapters.
    pub fn load_in(
        dtype: DType,
        info: &ModelInfo,
        selected: &Selected,
        device: &B::Device,
    ) -> Result<Self> {
        let started = Instant::now();
        let (selected, devices) = (std::slice::from_ref(selected), std::slice::from_ref(device));
        probe::<B>(selected, devices, dtype)?;
        tracing::info!("type: {}", type_name(dtype));
        let bar = progress_bar("loading");
        let mut progress = |_: &str, index: usize, count: usize| {
            bar.set_length(count as u64);
            bar.set_position(index as u64);
        };
        let model = info.load::<B>(dtype.try_into()?, device, &mut progress)?;
        settle::<B>(devices)?;
        bar.finish_and_clear();
        Ok(Self {
            model,
            dtype,
            load_time: started.elapsed(),
        })
    }
}

/// The type in which a session computes.
pub fn compute_type<B: GlmBackend>(
    info: &ModelInfo,
    args: &ModelArgs,
    selected: &Selected,
    device: &B::Device,
) -> Result<DType> {
    let (selected, devices) = (std::slice::from_ref(selected), std::slice::from_ref(device));
    choose_dtype::<B>(
        args.compute.dtype,
        &info.config,
        &Devices { selected, devices },
    )
}

/// The flag decides and must be possible; else the published type, or float16 and then float32 where the
/// backend lacks it.
fn choose_dtype<B: GlmBackend>(
    flag: Option<Precision>,
    config: &ModelConfig,
    devices: &Devices<'_, B>,
) -> Result<DType> {
    if let Some(precision) = flag {
        return Ok(devices.require(precision.into())?);
    }
    let published = config.common().torch_dtype.unwrap_or(FloatType::F32);
    let published = DType::from(published);
    let wanted = match published.size() < DType::F32.size() {
        true => vec![published, DType::F16],
        false => vec![DType::F32],
    };
    let dtype = devices.first_of(&wanted);
    if dtype != published {
        note(format!(
            "{} does not support {}; computing in {}",
            describe(devices.selected),
            type_name(published),
            type_name(dtype)
        ));
    }
    Ok(dtype)
}

//! `glmtune inspect`: what is in a model or adapter directory, and what memory its tuning takes.

use burn::tensor::DType;
use glmtune_model::adapters::{AdapterDir, AdapterKind, AdapterMeta};
use glmtune_model::checkpoint::{Checkpoint, TensorInfo};
use glmtune_model::model_info::{choose_mode, noted_mode};
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::pretrained::holds_whole_model;
use glmtune_model::tokenizer::{Mode, Tokenizer};
use glmtune_model::{BuildOptions, CausalLm, FloatType, ModelConfig};
use glmtune_training::deepspeed::DeepSpeedConfig;
use glmtune_training::settings::{Method, TrainSettings};

use super::error::{Error, Result};
use super::plan::{Case, Planned};
use super::report::Report;
use super::serve_memory::ServeMemory;
use super::train::planned_settings;
use crate::backend::AnyBackend;
use crate::cli::{InspectArgs, PlanArgs};

/// Blocks that freezing trains where the flag names none.
const LAST_BLOCKS: usize = 4;

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<()> {
    let dir = &args.dir;
    if !dir.is_dir() {
        return Err(Error::Request(format!(
            "{}: no such directory",
            dir.display()
        )));
    }
    let report = match AdapterKind::detect(dir) {
        Ok(kind) if !(kind.may_be_in_model() && holds_whole_model(dir)) => adapter_report(args)?,
        _ => model_report(args)?,
    };
    report.write(&mut std::io::stdout().lock(), args.json)
}

/// A sum of sizes that files claim; the largest number there is, should it overflow.
fn total(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}

/// Type and shape of tensors, where they are asked for.
fn tensors_of<'a>(args: &InspectArgs, infos: impl Iterator<Item = &'a TensorInfo>) -> Report {
    if !args.tensors {
        return Report::Nothing;
    }
    infos.fold(Report::new(), |report, info| {
        let shape: Vec<String> = info.shape.iter().map(usize::to_string).collect();
        report.with(
            info.name.clone(),
            format!("{} [{}]", info.dtype, shape.join(", ")),
        )
    })
}

fn adapter_report(args: &InspectArgs) -> Result<Report> {
    let adapter = AdapterDir::open(&args.dir)?;
    let meta = AdapterMeta::read(&args.dir)?;
    let report = Report::new()
        .with("kind", adapter.kind().label())
        .with("mode", meta.as_ref().and_then(|meta| meta.mode.clone()))
        .with("base model", meta.and_then(|meta| meta.base_model));
    let report = with_facts(report, &adapter)?;
    Ok(report.with("tensors", tensors_of(args, adapter.tensors().into_iter())))
}

/// What an adapter says of itself.
fn with_facts(report: Report, adapter: &AdapterDir) -> Result<Report> {
    let facts = adapter.facts()?.into_iter();
    Ok(facts.fold(report, |report, (name, fact)| {
        report.with(name, Report::of_json(fact))
    }))
}

fn model_report(args: &InspectArgs) -> Result<Report> {
    let dir = &args.dir;
    let config = ModelConfig::from_dir(dir)?;
    let tokenizer = Tokenizer::find(dir, None)?;
    let asked = args.plan.train.model.mode.or(noted_mode(dir)?);
    let mode = choose_mode(asked, tokenizer.as_ref(), &config);
    let model = CausalLm::<AnyBackend>::uninitialized(
        &config,
        &BuildOptions::float32(),
        &Default::default(),
    );
    let parameters = parameters(&model);
    let planned = Planned {
        config: &config,
        parameters: &parameters,
    };
    let report = architecture(&config, mode)
        .with(
            "tokenizer",
            tokenizer
                .as_ref()
                .map_or(Report::from("none"), |tokenizer| {
                    Report::from(tokenizer.vocab_size())
                }),
        )
        .with(
            "parameters",
            total(parameters.iter().map(ParameterInfo::elements)),
        )
        .with("weights", weights_report(args)?);
    let report = match AdapterDir::open(dir) {
        Ok(adapter) if adapter.kind().may_be_in_model() => with_facts(report, &adapter)?,
        _ => report,
    };
    with_trainings(report, &args.plan, planned, mode)
}

fn architecture(config: &ModelConfig, mode: Mode) -> Report {
    let common = config.common();
    let kind = match config {
        ModelConfig::ChatGlm(_) => "ChatGLM-6B architecture",
        ModelConfig::ChatGlm2(_) => "ChatGLM2/3 and GLM-4 architecture",
    };
    Report::new()
        .with("kind", kind)
        .with("mode", mode.to_string())
        .with("layers", common.num_layers)
        .with("hidden size", common.hidden_size)
        .with("heads", common.num_attention_heads)
        .with("key/value heads", config.kv_heads())
        .with("vocabulary", common.vocab_size)
}

/// The one training that the flags describe, part by part; without `--plan`, all methods in brief.
fn with_trainings(
    report: Report,
    args: &PlanArgs,
    planned: Planned<'_>,
    mode: Mode,
) -> Result<Report> {
    let file = args.train.deepspeed_file().map(DeepSpeedConfig::read);
    let file = file.transpose()?;
    let dtype = dtype(args, planned.config, file.as_ref());
    let processes = args.processes;
    let settings = planned_settings(&args.train, file.as_ref(), mode, dtype, processes)?;
    settings.validate()?;
    let limits = settings.limits;
    // A row may be all answer, unless it is said how long its prompt is; a packed sequence has rows of any prompts.
    let targets = match args.is_given("max_src_len") && !settings.packing {
        true => limits.max_len.saturating_sub(limits.max_src_len),
        false => limits.max_len,
    };
    let case = Case {
        processes,
        devices: match processes {
            1 => args.train.model.compute.devices.len().max(1),
            // They take one of the devices each.
            _ => 1,
        },
        ..Case::of(&settings, limits.max_len, targets)
    };
    if args.plan {
        if planned.plan(&case, true)?.trained == 0 {
            return Err(Error::Request(format!(
                "nothing would be trained: no parameter of this model is meant by the flags of --train_type {}",
                settings.method.name()
            )));
        }
        return Ok(report.with(format!("plan of {}", case.title()), planned.details(&case)?));
    }
    let methods = methods(args, &settings, planned.config)?;
    let of = |method: &Method, dtype| Case {
        method: method.clone(),
        dtype,
        ..case.clone()
    };
    let (mut trained, mut memory) = (Report::new(), Report::new());
    for (name, method) in &methods {
        trained.add(*name, planned.trained(&of(method, DType::F32))?);
        for dtype in dtypes(args) {
            let case = of(method, dtype);
            memory.add(case.title(), planned.brief(&case)?);
        }
    }
    let workload = format!("(batch {}, length {})", case.batch, case.length);
    Ok(report
        .with("trainable parameters", trained)
        .with(format!("memory of training {workload}"), memory)
        .with("memory of serving", serving(args, planned.config)?))
}

/// What a server holds: the weights, and for every token that it keeps a key and a value in each layer.
fn serving(args: &PlanArgs, config: &ModelConfig) -> Result<Report> {
    const TOKENS: u64 = 10_000;
    let mut report = Report::new();
    for dtype in dtypes(args) {
        let dtype = FloatType::try_from(dtype)?;
        let memory = ServeMemory::of_base(config, dtype);
        let sizes = Report::new()
            .with("weights", Report::Bytes(memory.weights))
            .with(
                "keys and values of 10,000 tokens",
                Report::Bytes(memory.per_token * TOKENS),
            );
        report.add(dtype.to_string(), sizes);
    }
    Ok(report)
}

/// As `train` chooses it where the device has every type.
fn dtype(args: &PlanArgs, config: &ModelConfig, file: Option<&DeepSpeedConfig>) -> FloatType {
    if let Some(precision) = args.train.model.compute.dtype {
        return precision.into();
    }
    let is_half = config.common().torch_dtype.is_some_and(FloatType::is_half);
    match is_half || file.is_some_and(|file| file.bf16) {
        true => FloatType::Bf16,
        false => FloatType::F32,
    }
}

fn dtypes(args: &PlanArgs) -> Vec<DType> {
    match args.train.model.compute.dtype {
        Some(precision) => vec![precision.into()],
        None => vec![DType::BF16, DType::F32],
    }
}

/// All methods with the settings of the command line, or the one that it names.
fn methods(
    args: &PlanArgs,
    settings: &TrainSettings,
    config: &ModelConfig,
) -> Result<Vec<(&'static str, Method)>> {
    let mut methods = Vec::new();
    for kind in crate::cli::TrainType::ALL {
        let mut train = args.train.clone();
        train.method.train_type = kind;
        if args.is_given("train_type") && kind.name() != settings.method.name() {
            continue;
        }
        match train.method.method()? {
            Method::Freeze { .. } if !args.is_given("freeze_module_name") => {
                let freeze_module_name = last_blocks(config);
                methods.push(Method::Freeze { freeze_module_name });
            }
            Method::Adapter(settings) => {
                let variants = settings.variants(&|name| args.is_given(name));
                methods.extend(variants.into_iter().map(Method::Adapter));
            }
            method => methods.push(method),
        }
    }
    let named = methods.into_iter().map(|method| (method.title(), method));
    Ok(named.collect())
}

fn last_blocks(config: &ModelConfig) -> Vec<String> {
    let layers = config.common().num_layers;
    let last = layers.saturating_sub(LAST_BLOCKS)..layers;
    last.map(|layer| format!("layers.{layer}.")).collect()
}

fn weights_report(args: &InspectArgs) -> Result<Report> {
    // A link that leads nowhere is there: opening it then says what is wrong with it.
    let has_weights = |name: &str| args.dir.join(name).symlink_metadata().is_ok();
    let known = [
        "model.safetensors.index.json",
        "model.safetensors",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
    ];
    if !known.into_iter().any(has_weights) {
        return Ok(Report::from("none"));
    }
    let checkpoint = Checkpoint::open(&args.dir)?;
    let bytes = total(checkpoint.entries().map(TensorInfo::bytes)) as u64;
    let types: std::collections::BTreeSet<&str> =
        checkpoint.entries().map(|info| info.dtype.name()).collect();
    Ok(Report::new()
        .with("files", checkpoint.files().count())
        .with("tensors", checkpoint.entries().len())
        .with(
            "types",
            Report::List(types.into_iter().map(str::to_string).collect()),
        )
        .with("size", Report::Bytes(bytes))
        .with("list", tensors_of(args, checkpoint.entries())))
}

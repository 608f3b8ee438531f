//! `glmtune inspect`: what is in a model or adapter directory, and what memory its tuning takes.

use std::io::Write;
use std::path::Path;

use burn::tensor::DType as BurnType;
use glmtune_model::checkpoint::{
    AdapterKind, AdapterMeta, Checkpoint, LoraAdapter, PrefixAdapter, TensorInfo,
};
use glmtune_model::memory::{MemoryEstimate, Method, Workload, estimate};
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::tokenizer::Tokenizer;
use glmtune_model::{BuildOptions, CausalLm, ModelConfig};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::output::{grouped, human_bytes};
use super::session::{choose_mode, noted_mode};
use crate::backend::AnyBackend;
use crate::cli::InspectArgs;

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
        Ok(AdapterKind::Lora) => lora_report(dir)?,
        Ok(AdapterKind::Prefix) if !holds_whole_model(dir) => prefix_report(dir)?,
        _ => model_report(args)?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print_value(&mut out, &report, 0)?;
    }
    Ok(())
}

/// A model directory may carry its prefix; a prefix directory holds nothing else.
fn holds_whole_model(dir: &Path) -> bool {
    Checkpoint::open(dir).is_ok_and(|checkpoint| {
        checkpoint
            .entries()
            .any(|info| info.name.contains("word_embeddings"))
    })
}

fn tensors_of<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> Value {
    let entries = infos.map(|info| {
        let shape: Vec<String> = info.shape.iter().map(usize::to_string).collect();
        (
            info.name.clone(),
            json!(format!("{} [{}]", info.dtype, shape.join(", "))),
        )
    });
    Value::Object(entries.collect())
}

fn lora_report(dir: &Path) -> Result<Value> {
    let adapter = LoraAdapter::open(dir)?;
    let config = adapter.config();
    let count: usize = adapter.weights().entries().map(TensorInfo::elements).sum();
    let modules: Vec<&str> = adapter
        .pairs()
        .iter()
        .map(|pair| pair.module.as_str())
        .collect();
    let meta = AdapterMeta::read(dir)?;
    Ok(json!({
        "kind": "LoRA adapter (PEFT)",
        "rank": config.rank,
        "alpha": config.alpha,
        "mode": meta.and_then(|meta| meta.mode),
        "modules": modules.len(),
        "first module": modules.first(),
        "parameters": count,
        "changes nothing (every lora_B is zero)": adapter.is_zero_delta()?,
        "tensors": tensors_of(adapter.weights().entries()),
    }))
}

fn prefix_report(dir: &Path) -> Result<Value> {
    let adapter = PrefixAdapter::open(dir)?;
    let count: usize = adapter.tensors().iter().map(TensorInfo::elements).sum();
    Ok(json!({
        "kind": "P-Tuning v2 prefix",
        "pre_seq_len": adapter.pre_seq_len(),
        "prefix_projection": adapter.prefix_projection(),
        "parameters": count,
        "tensors": tensors_of(adapter.tensors().iter()),
    }))
}

fn model_report(args: &InspectArgs) -> Result<Value> {
    let dir = &args.dir;
    let config = ModelConfig::from_dir(dir)?;
    let tokenizer = Tokenizer::find(dir, None)?;
    let mode = choose_mode(noted_mode(&args.dir)?, tokenizer.as_ref(), &config);
    let model =
        CausalLm::<AnyBackend>::unset(&config, &BuildOptions::float32(), &Default::default());
    let parameters = parameters(&model);
    let common = config.common();
    let mut report = json!({
        "kind": match &config {
            ModelConfig::ChatGlm(_) => "ChatGLM-6B architecture",
            ModelConfig::ChatGlm2(_) => "ChatGLM2/3 and GLM-4 architecture",
        },
        "mode": mode.to_string(),
        "layers": common.num_layers,
        "hidden size": common.hidden_size,
        "heads": common.num_attention_heads,
        "key/value heads": config.kv_heads(),
        "vocabulary": common.vocab_size,
        "tokenizer": tokenizer.as_ref().map_or(json!("none"), |tokenizer| json!(tokenizer.vocab_size())),
        "parameters": parameters.iter().map(ParameterInfo::elements).sum::<usize>(),
    });
    report["weights"] = weights_report(args)?;
    report["trainable parameters"] = methods_report(args, &config, &parameters);
    report[format!(
        "estimated memory of training (batch {}, length {})",
        args.per_device_train_batch_size, args.max_len
    )] = memory_report(args, &config, &parameters);
    Ok(report)
}

fn weights_report(args: &InspectArgs) -> Result<Value> {
    let has_weights = |name: &str| args.dir.join(name).exists();
    let known = [
        "model.safetensors.index.json",
        "model.safetensors",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
    ];
    if !known.into_iter().any(has_weights) {
        return Ok(json!("none"));
    }
    let checkpoint = Checkpoint::open(&args.dir)?;
    let bytes: usize = checkpoint.entries().map(TensorInfo::bytes).sum();
    let types: std::collections::BTreeSet<&str> =
        checkpoint.entries().map(|info| info.dtype.name()).collect();
    let mut report = json!({
        "files": checkpoint.files().count(),
        "tensors": checkpoint.entries().len(),
        "types": types,
        "size": human_bytes(bytes as f64),
    });
    if args.tensors {
        report["list"] = tensors_of(checkpoint.entries());
    }
    Ok(report)
}

/// The methods with the settings of the command line.
fn methods(args: &InspectArgs, config: &ModelConfig) -> Vec<(&'static str, Method)> {
    let layers = config.common().num_layers;
    let freeze = match args.freeze_module_name.is_empty() {
        true => (layers.saturating_sub(4)..layers)
            .map(|layer| format!("layers.{layer}."))
            .collect(),
        false => args.freeze_module_name.clone(),
    };
    vec![
        ("freeze", Method::Freeze { names: freeze }),
        (
            "ptuning",
            Method::Prefix {
                pre_seq_len: args.pre_seq_len,
                projection: false,
            },
        ),
        (
            "ptuning with projection",
            Method::Prefix {
                pre_seq_len: args.pre_seq_len,
                projection: true,
            },
        ),
        (
            "lora",
            Method::Lora {
                rank: args.lora_dim,
                modules: args.lora_module_name.clone(),
            },
        ),
        ("all", Method::All),
    ]
}

fn methods_report(args: &InspectArgs, config: &ModelConfig, parameters: &[ParameterInfo]) -> Value {
    let total: usize = parameters.iter().map(ParameterInfo::elements).sum();
    let entries = methods(args, config).into_iter().map(|(name, method)| {
        let count = method.trainable(config, parameters);
        let share = 100.0 * count as f64 / total.max(1) as f64;
        (
            name.to_string(),
            json!(format!("{} ({share:.4} %)", grouped(count))),
        )
    });
    Value::Object(entries.collect())
}

fn memory_report(args: &InspectArgs, config: &ModelConfig, parameters: &[ParameterInfo]) -> Value {
    let mut report = json!({});
    for (name, method) in methods(args, config) {
        for (precision, dtype) in [("bf16/f16", BurnType::BF16), ("f32", BurnType::F32)] {
            let workload = Workload {
                batch: args.per_device_train_batch_size,
                length: args.max_len,
                dtype,
            };
            let estimate = estimate(config, parameters, &method, &workload);
            report[format!("{name}, {precision}")] = json!(describe(&estimate));
        }
    }
    report
}

fn describe(estimate: &MemoryEstimate) -> String {
    let part = |bytes: u64| human_bytes(bytes as f64);
    format!(
        "{} = weights {} + masters {} + moments {} + gradients {} + activations {} + logits {}",
        part(estimate.total()),
        part(estimate.weights),
        part(estimate.masters),
        part(estimate.moments),
        part(estimate.gradients),
        part(estimate.activations),
        part(estimate.logits),
    )
}

/// A report as indented lines; numbers with separators.
fn print_value(out: &mut impl Write, value: &Value, depth: usize) -> Result<()> {
    let Value::Object(map) = value else {
        return Ok(());
    };
    for (key, value) in map {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                writeln!(out, "{indent}{key}:")?;
                print_value(out, value, depth + 1)?;
            }
            Value::Null => {}
            Value::Number(number) => match number.as_u64() {
                Some(number) => writeln!(out, "{indent}{key}: {}", grouped(number as usize))?,
                None => writeln!(out, "{indent}{key}: {number}")?,
            },
            Value::String(text) => writeln!(out, "{indent}{key}: {text}")?,
            Value::Array(values) => {
                let texts = values
                    .iter()
                    .map(|value| value.as_str().unwrap_or_default());
                writeln!(
                    out,
                    "{indent}{key}: {}",
                    texts.collect::<Vec<_>>().join(", ")
                )?;
            }
            Value::Bool(flag) => writeln!(out, "{indent}{key}: {flag}")?,
        }
    }
    Ok(())
}

//! `glmtune inspect`: what is in a model or adapter directory, and what memory its tuning takes.

use std::io::Write;
use std::path::Path;

use glmtune_model::checkpoint::{
    AdapterKind, AdapterMeta, Checkpoint, LoraAdapter, PrefixAdapter, TensorInfo,
};
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::printable::printable;
use glmtune_model::tokenizer::Tokenizer;
use glmtune_model::{BuildOptions, CausalLm, ModelConfig};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::output::{grouped, human_bytes};
use super::plan::Plans;
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

/// A sum of sizes that files claim; the largest number there is, should it overflow.
fn total(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
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
    let count = total(adapter.weights().entries().map(TensorInfo::elements));
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
    let count = total(adapter.tensors().iter().map(TensorInfo::elements));
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
        "parameters": total(parameters.iter().map(ParameterInfo::elements)),
    });
    report["weights"] = weights_report(args)?;
    let plans = Plans {
        args: &args.plan,
        config: &config,
        parameters: &parameters,
    };
    report["trainable parameters"] = plans.trainable();
    let workload = format!(
        "(batch {}, length {})",
        args.plan.per_device_train_batch_size, args.plan.max_len
    );
    match args.plan.plan {
        true => report[format!("plan {workload}")] = plans.details(),
        false => report[format!("estimated memory of training {workload}")] = plans.overview(),
    }
    Ok(report)
}

fn weights_report(args: &InspectArgs) -> Result<Value> {
    // A link that leads nowhere is there: opening it then says what is wrong with it.
    let has_weights = |name: &str| args.dir.join(name).symlink_metadata().is_ok();
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
    let bytes = total(checkpoint.entries().map(TensorInfo::bytes));
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

/// A report as indented lines; numbers with separators.
fn print_value(out: &mut impl Write, value: &Value, depth: usize) -> Result<()> {
    let Value::Object(map) = value else {
        return Ok(());
    };
    for (key, value) in map {
        let key = printable(key);
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
            Value::String(text) => writeln!(out, "{indent}{key}: {}", printable(text))?,
            Value::Array(values) => {
                let texts = values
                    .iter()
                    .map(|value| printable(value.as_str().unwrap_or_default()));
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

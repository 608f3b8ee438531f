//! A training that starts from an adapter goes on in its form: rank, alpha and modules, or length and form of
//! the prefix are the adapter's. A flag that says otherwise is refused, since nothing could come of it.

use std::fmt::Display;
use std::path::Path;

use glmtune_model::adapters::{AdapterKind, LoraAdapter, PrefixAdapter, TargetModules};

use crate::cli::{TrainArgs, TrainType};
use crate::commands::error::{Error, Result};

/// What PEFT calls every linear layer, and which there are.
const ALL_LINEAR: &str = "all-linear";
const LINEAR: [&str; 4] = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"];

/// The flags with what the adapter says in place of those that were not given.
///
/// # Errors
/// If a flag that was given contradicts the adapter; all such flags are named together.
pub fn resolve(args: &TrainArgs) -> Result<TrainArgs> {
    let mut resolved = args.clone();
    let Some(dir) = args.model.adapter.first() else {
        return Ok(resolved);
    };
    let faults = match (args.train_type, AdapterKind::detect(dir)?) {
        (TrainType::Lora, AdapterKind::Lora) => lora(&mut resolved, dir)?,
        (TrainType::Ptuning, AdapterKind::Prefix) => prefix(&mut resolved, dir)?,
        // Another method cannot start from it, which is told where it is attached.
        _ => Vec::new(),
    };
    match faults.is_empty() {
        true => Ok(resolved),
        false => Err(Error::Request(format!(
            "{}: the training goes on with this adapter as it is, and {}; leave the flag out, or --adapter to \
             start anew",
            dir.display(),
            faults.join(", and ")
        ))),
    }
}

fn lora(args: &mut TrainArgs, dir: &Path) -> Result<Vec<String>> {
    let adapter = LoraAdapter::open(dir)?;
    let config = adapter.config();
    let mut faults = Vec::new();
    faults.extend(settle("lora_dim", &mut args.lora_dim, config.rank));
    faults.extend(settle("lora_alpha", &mut args.lora_alpha, config.alpha));
    // Dropout is a matter of the training, which may choose another.
    args.lora_dropout.get_or_insert(config.dropout);
    let mut modules: Vec<&str> = adapter
        .pairs()
        .iter()
        .filter_map(|pair| pair.module.rsplit('.').next())
        .collect();
    modules.sort_unstable();
    modules.dedup();
    match args.lora_module_name.is_empty() {
        true => args.lora_module_name = modules.iter().map(ToString::to_string).collect(),
        false if !names_the_modules(&args.lora_module_name, &adapter, &modules) => {
            faults.push(format!(
                "it has {} where --lora_module_name asks for {}",
                modules.join(","),
                args.lora_module_name.join(",")
            ));
        }
        false => {}
    }
    Ok(faults)
}

/// Whether the names are those of the adapter's modules: every module has one, and every name a module.
fn names_the_modules(names: &[String], adapter: &LoraAdapter, modules: &[&str]) -> bool {
    let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
    if names == [ALL_LINEAR] {
        return LINEAR.iter().all(|name| modules.contains(name));
    }
    let named: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let targets = TargetModules::names(named.iter().copied());
    let mut paths = adapter.pairs().iter().map(|pair| pair.module.as_str());
    let has_module = |name: &&str| {
        let target = TargetModules::names([*name]);
        adapter
            .pairs()
            .iter()
            .any(|pair| target.matches(&pair.module))
    };
    paths.all(|path| targets.matches(path)) && named.iter().all(has_module)
}

fn prefix(args: &mut TrainArgs, dir: &Path) -> Result<Vec<String>> {
    let adapter = PrefixAdapter::open(dir)?;
    let projection = adapter.prefix_projection();
    let mut faults = Vec::new();
    faults.extend(settle(
        "pre_seq_len",
        &mut args.pre_seq_len,
        adapter.pre_seq_len(),
    ));
    faults.extend(settle(
        "prefix_projection",
        &mut args.prefix_projection,
        projection,
    ));
    Ok(faults)
}

/// Takes the adapter's value where none was given; the fault, if another was.
fn settle<T: PartialEq + Display + Copy>(
    flag: &str,
    given: &mut Option<T>,
    has: T,
) -> Option<String> {
    let given = *given.get_or_insert(has);
    (given != has).then(|| format!("its {flag} is {has} where --{flag} asks for {given}"))
}

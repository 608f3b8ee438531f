//! Prepares a model for a method: attaches what is to be attached and marks what is trained.

use std::collections::BTreeSet;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::DType;
use glmtune_model::adapters::{Adapter, Lora, LoraSettings, PREFIX_ENCODER, PrefixEncoder};
use glmtune_model::adapters::{AdapterKind, LoraAdapter, LoraConfig, PrefixAdapter, TargetModules};
use glmtune_model::causal_lm::prefix_shape;
use glmtune_model::checkpoint::RawTensor;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::near_names::near_names;
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::pretrained::Pretrained;
use glmtune_model::random_weights::seed_of;
use glmtune_model::trainable::set_trainable;
use glmtune_model::{CausalLm, GlmBackend, ModelConfig};

use crate::error::{Error, Result};
use crate::settings::Method;
use crate::tensors::trained;

/// What PEFT calls every linear layer.
const ALL_LINEAR: &str = "all-linear";
/// How many near names an error lists.
const NEAR_NAMES: usize = 5;

/// A model that is ready to be trained.
#[derive(Debug)]
pub struct Prepared<B: GlmBackend> {
    /// The model: what is trained is tracked and in float32.
    pub model: CausalLm<Autodiff<B>>,
    /// Those of its weights that live in the host's memory.
    pub host: HostWeights,
    /// What is trained, in the order of the model.
    pub trainable: Vec<ParameterInfo>,
    /// Float32 values, by their paths, of trained parameters that the model holds rounded: masters to start from.
    pub masters: Vec<(String, RawTensor)>,
    /// Elements of all parameters, those of adapters included.
    pub total: usize,
    /// What the outputs will hold.
    pub output: OutputKind,
}

/// Where the float32 masters of trained weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masters {
    /// In the model: what is trained is float32.
    InModel,
    /// With the optimizer: what is trained has the model's compute type.
    WithOptimizer,
}

/// What an output of the training holds.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputKind {
    /// A PEFT directory with these settings.
    Lora(Box<LoraConfig>),
    /// An official ptuning directory.
    Prefix {
        /// Prefix positions.
        pre_seq_len: usize,
        /// Whether an MLP follows the embedding.
        prefix_projection: bool,
    },
    /// A whole model directory.
    Model,
}

impl<B: GlmBackend> Prepared<B> {
    /// Number of trained elements.
    pub fn trained(&self) -> usize {
        self.trainable.iter().map(ParameterInfo::elements).sum()
    }
}

/// Prepares a model.
///
/// With `adapter`, the training starts from the adapter of that directory, which then decides over
/// rank, alpha and modules, or over the length and form of the prefix.
///
/// # Errors
/// If a name matches nothing, with the near names; if the adapter is of another kind or does not fit.
pub fn prepare<B: GlmBackend>(
    pretrained: Pretrained<Autodiff<B>>,
    method: &Method,
    adapter: Option<&Path>,
    masters: Masters,
    seed: u64,
) -> Result<Prepared<B>> {
    let device = pretrained.model.device();
    let Pretrained {
        model,
        config,
        mut host,
    } = match adapter {
        Some(dir) => attach(pretrained, method, dir, &device)?,
        None => pretrained,
    };
    let (model, output) = match method {
        Method::Lora {
            lora_dim,
            lora_alpha,
            lora_dropout,
            lora_module_name,
        } => {
            let settings = LoraSettings {
                rank: *lora_dim,
                alpha: *lora_alpha,
                dropout: *lora_dropout,
            };
            with_lora(model, adapter, settings, lora_module_name, seed)?
        }
        Method::Ptuning {
            prefix_dropout,
            pre_seq_len,
            prefix_projection,
        } => {
            let shape = (*pre_seq_len, *prefix_projection);
            with_prefix(model, &config, adapter, shape, *prefix_dropout, seed)?
        }
        Method::Freeze { .. } | Method::All => (model, OutputKind::Model),
    };
    let infos = parameters(&model);
    let chosen = chosen(method, &infos)?;
    let master = match masters {
        Masters::InModel => DType::F32,
        Masters::WithOptimizer => model.dtype(),
    };
    // Adapters are float32 up to here; published weights have the compute type and are exact in it.
    let masters = match method.is_adapter() && master != DType::F32 {
        true => trained(&model, &|path| chosen.contains(path))?,
        false => Vec::new(),
    };
    let model = set_trainable(model, &|path| chosen.contains(path), master);
    host.set_trained(&|path| chosen.contains(path));
    Ok(Prepared {
        model,
        host,
        masters,
        total: infos.iter().map(ParameterInfo::elements).sum(),
        trainable: infos
            .into_iter()
            .filter(|info| chosen.contains(&info.path))
            .collect(),
        output,
    })
}

/// Attaches the adapter that a training starts from; factors are float32 from the start.
fn attach<B: GlmBackend>(
    mut pretrained: Pretrained<Autodiff<B>>,
    method: &Method,
    dir: &Path,
    device: &B::Device,
) -> Result<Pretrained<Autodiff<B>>> {
    let kind = AdapterKind::detect(dir)?;
    let fits = matches!(
        (method, kind),
        (Method::Lora { .. }, AdapterKind::Lora) | (Method::Ptuning { .. }, AdapterKind::Prefix)
    );
    if !fits {
        let advice = match method.is_adapter() {
            true => "",
            false => "; `glmtune merge` folds a LoRA into its base first",
        };
        return Err(Error::Request(format!(
            "{}: holds {}, from which --train_type {} cannot start{advice}",
            dir.display(),
            kind.title(),
            method.name()
        )));
    }
    pretrained.attach(dir, DType::F32, device)?;
    Ok(pretrained)
}

fn with_lora<B: GlmBackend>(
    mut model: CausalLm<Autodiff<B>>,
    adapter: Option<&Path>,
    settings: LoraSettings,
    names: &[String],
    seed: u64,
) -> Result<(CausalLm<Autodiff<B>>, OutputKind)> {
    let mut config = match adapter {
        Some(dir) => {
            let attached = model.projections_mut().into_iter();
            for adapter in attached.filter_map(|(_, projection)| projection.adapter.as_mut()) {
                adapter.set_dropout(settings.dropout);
            }
            LoraAdapter::open(dir)?.config().clone()
        }
        None => {
            let targets = targets(names);
            attach_fresh(&mut model, settings, &targets, seed)?;
            LoraConfig::new(settings.rank, settings.alpha, resolved(&mut model, targets))
        }
    };
    config.dropout = settings.dropout;
    Ok((model, OutputKind::Lora(Box::new(config))))
}

pub(crate) fn targets(names: &[String]) -> TargetModules {
    match names {
        [name] if name == ALL_LINEAR => TargetModules::AllLinear,
        names => TargetModules::names(names.iter().cloned()),
    }
}

/// `all-linear` by the names of the layers that it stands for, as PEFT saves it: its older releases know only
/// those.
fn resolved<B: GlmBackend>(
    model: &mut CausalLm<Autodiff<B>>,
    targets: TargetModules,
) -> TargetModules {
    if targets != TargetModules::AllLinear {
        return targets;
    }
    let adapted = model
        .projections_mut()
        .into_iter()
        .filter(|(_, projection)| projection.adapter.is_some());
    let names: BTreeSet<String> = adapted
        .filter_map(|(path, _)| path.rsplit('.').next().map(str::to_string))
        .collect();
    TargetModules::names(names)
}

fn attach_fresh<B: GlmBackend>(
    model: &mut CausalLm<Autodiff<B>>,
    settings: LoraSettings,
    targets: &TargetModules,
    seed: u64,
) -> Result<()> {
    let device = model.device();
    let projections = model.projections_mut();
    if let TargetModules::Names(names) = targets {
        let modules: BTreeSet<String> = projections
            .iter()
            .filter_map(|(path, _)| path.rsplit('.').next().map(str::to_string))
            .collect();
        let is_matched = |name: &&String| {
            let target = TargetModules::names([name.as_str()]);
            projections.iter().any(|(path, _)| target.matches(path))
        };
        if let Some(name) = names.iter().find(|name| !is_matched(name)) {
            return Err(no_match("lora_module_name", name, &modules));
        }
    }
    for (path, projection) in projections {
        if targets.matches(&path) {
            let seed = seed_of(&path, seed);
            let lora = Lora::initialized(projection.dims(), settings, seed, &device);
            projection.adapter = Some(Adapter::Lora(lora));
        }
    }
    Ok(())
}

fn with_prefix<B: GlmBackend>(
    mut model: CausalLm<Autodiff<B>>,
    config: &ModelConfig,
    adapter: Option<&Path>,
    (pre_seq_len, projection): (usize, bool),
    dropout: f64,
    seed: u64,
) -> Result<(CausalLm<Autodiff<B>>, OutputKind)> {
    let (pre_seq_len, prefix_projection) = match adapter {
        Some(dir) => {
            let prefix = PrefixAdapter::open(dir)?;
            (prefix.pre_seq_len(), prefix.prefix_projection())
        }
        None => {
            let shape = prefix_shape(config, pre_seq_len, projection);
            let seed = seed_of(PREFIX_ENCODER, seed);
            let encoder = PrefixEncoder::initialized(&shape, seed, &model.device());
            model = model.with_prefix(encoder);
            (pre_seq_len, projection)
        }
    };
    if let Some(encoder) = model.prefix_slot() {
        encoder.dropout = dropout;
    }
    let output = OutputKind::Prefix {
        pre_seq_len,
        prefix_projection,
    };
    Ok((model, output))
}

/// The paths that a method trains.
fn chosen(method: &Method, infos: &[ParameterInfo]) -> Result<BTreeSet<String>> {
    let paths = infos.iter().map(|info| &info.path);
    let containing = |part: &str| -> BTreeSet<String> {
        let paths = paths.clone().filter(|path| path.contains(part));
        paths.cloned().collect()
    };
    let owned = |kind: AdapterKind| -> BTreeSet<String> {
        let paths = paths.clone().filter(|path| kind.owns(path));
        paths.cloned().collect()
    };
    match method {
        Method::All => Ok(paths.cloned().collect()),
        Method::Lora { .. } => Ok(owned(AdapterKind::Lora)),
        Method::Ptuning { .. } => Ok(owned(AdapterKind::Prefix)),
        Method::Freeze { freeze_module_name } => {
            let mut all = BTreeSet::new();
            for part in freeze_module_name {
                let found = containing(part);
                if found.is_empty() {
                    return Err(no_match("freeze_module_name", part, &fragments(paths)));
                }
                all.extend(found);
            }
            Ok(all)
        }
    }
}

/// The parts of paths that a user may have meant: `layers.3.`, `mlp`, `word_embeddings`, ….
fn fragments<'a>(paths: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let mut fragments = BTreeSet::new();
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        for (index, part) in parts.iter().enumerate() {
            match part.parse::<usize>() {
                Ok(_) if index > 0 => fragments.insert(format!("{}.{part}.", parts[index - 1])),
                _ => fragments.insert((*part).to_string()),
            };
        }
    }
    fragments
}

fn no_match(setting: &str, name: &str, known: &BTreeSet<String>) -> Error {
    let near = near_names(name, known.iter().map(String::as_str), NEAR_NAMES);
    Error::Request(format!(
        "{setting}: `{name}` matches no parameter of this model; near names: {}",
        near.join(", ")
    ))
}

//! Prepares a model for a method: attaches what is to be attached and marks what is trained.

use std::collections::BTreeSet;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::DType;
use glmtune_model::adapters::{AdapterDir, AdapterKind, AdapterOutput, AdapterSettings};
use glmtune_model::attach::{attach_initialized, projection_paths, set_dropout};
use glmtune_model::checkpoint::RawTensor;
use glmtune_model::host_weights::HostWeights;
use glmtune_model::near_names::near_names;
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::pretrained::Pretrained;
use glmtune_model::trainable::set_trainable;
use glmtune_model::{CausalLm, GlmBackend, ModelConfig};

use crate::error::{Error, Result};
use crate::settings::Method;
use crate::tensors::trained;

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
#[derive(Debug, Clone)]
pub enum OutputKind {
    /// An adapter directory.
    Adapter(AdapterOutput),
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
    let Pretrained {
        mut model,
        config,
        mut host,
    } = match adapter {
        Some(dir) => attach(pretrained, method, dir)?,
        None => pretrained,
    };
    let output = match method {
        Method::Adapter(settings) => {
            OutputKind::Adapter(with_adapter(&mut model, &config, settings, adapter, seed)?)
        }
        Method::Freeze { .. } | Method::All => OutputKind::Model,
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

/// Attaches the adapter that a training starts from; its parameters are float32 from the start.
fn attach<B: GlmBackend>(
    mut pretrained: Pretrained<Autodiff<B>>,
    method: &Method,
    dir: &Path,
) -> Result<Pretrained<Autodiff<B>>> {
    let kind = AdapterKind::detect(dir)?;
    if method.adapter().map(|settings| settings.kind()) != Some(kind) {
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
    let device = pretrained.model.device();
    pretrained.attach(dir, DType::F32, &device)?;
    Ok(pretrained)
}

/// Attaches a new adapter unless one of a directory is attached, and tells how it is stored.
fn with_adapter<B: GlmBackend>(
    model: &mut CausalLm<Autodiff<B>>,
    config: &ModelConfig,
    settings: &AdapterSettings,
    dir: Option<&Path>,
    seed: u64,
) -> Result<AdapterOutput> {
    let form = match dir {
        Some(dir) => AdapterDir::open(dir)?.stored(settings.dropout()),
        None => {
            if let Some(unmatched) = settings.unmatched(&projection_paths(model)) {
                return Err(no_match(
                    unmatched.setting,
                    &unmatched.name,
                    &unmatched.known,
                ));
            }
            let device = model.device();
            settings.stored(&attach_initialized(model, config, settings, seed, &device))
        }
    };
    set_dropout(model, settings);
    Ok(AdapterOutput {
        kind: settings.kind(),
        form,
    })
}

/// The paths that a method trains.
///
/// # Errors
/// If a name that is to be trained matches none, with the near names.
fn chosen(method: &Method, infos: &[ParameterInfo]) -> Result<BTreeSet<String>> {
    let paths = infos.iter().map(|info| &info.path);
    if let Method::Freeze { freeze_module_name } = method {
        let matches = |part: &&String| paths.clone().any(|path| path.contains(part.as_str()));
        if let Some(part) = freeze_module_name.iter().find(|part| !matches(part)) {
            return Err(no_match("freeze_module_name", part, &fragments(paths)));
        }
    }
    Ok(paths.filter(|path| method.trains(path)).cloned().collect())
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

//! A model directory as a whole: configuration, weights and adapters become a model.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::adapters::{
    Adapter, AdapterDir, AdapterKind, PREFIX_ENCODER, PrefixAdapter, PrefixEncoder, PrefixShape,
    Site, StoredAdapter,
};
use crate::architecture::BuildOptions;
use crate::causal_lm::CausalLm;
use crate::checkpoint::{Checkpoint, RawTensor, TensorInfo, natural_order};
use crate::config::ModelConfig;
use crate::error::{Error, Result, WeightFault};
use crate::float_type::FloatType;
use crate::host_weights::{Holders, HostWeights};
use crate::layers::rotary::{RotaryPrecision, Rounding};
use crate::parameters::{ParameterInfo, PathMapper, map_by_path, parameters};
use crate::resident::{make_room, upload};
use crate::rope_ratio::RopeRatio;
use crate::tensor_target::{TensorTarget, finite, to_data};
use crate::tokenizer::Mode;

/// Called before each tensor with its name, its index and the number of tensors.
pub type LoadProgress<'a> = &'a mut dyn FnMut(&str, usize, usize);

/// A model read from a directory.
#[derive(Debug)]
pub struct Pretrained<B: Backend> {
    /// Its configuration.
    pub config: ModelConfig,
    /// The model with its weights.
    pub model: CausalLm<B>,
    /// Those weights that visit the device.
    pub host: HostWeights,
}

/// Where the weights of a model live.
#[derive(Debug, Clone)]
pub enum Placement {
    /// On the device.
    Device,
    /// In the host's memory, where they [may](may_leave); they visit the device.
    Host,
    /// Those that [may](may_leave) leave the device are kept in parts, and visit the device. Of several processes each
    /// reads the files and keeps its part.
    Parts(Holders),
}

/// Whether a parameter of the published model may leave the device: matrices do; vectors are too small
/// for it, and the prefix encoder acts in every block.
pub fn may_leave(path: &str, shape: &[usize]) -> bool {
    shape.len() > 1 && AdapterKind::of(path) != Some(AdapterKind::Prefix)
}

/// How the model of a directory is built for a compute type and a prompt mode.
pub fn build_options(config: &ModelConfig, mode: Option<Mode>, dtype: FloatType) -> BuildOptions {
    let rounding = Rounding::of(dtype);
    // ChatGLM3 and later compute the angles in float32 whatever the type, the others in the type.
    let rounds_angles = match config {
        ModelConfig::ChatGlm(_) => true,
        ModelConfig::ChatGlm2(_) => matches!(mode, Some(Mode::Glm2)),
    };
    BuildOptions {
        dtype: dtype.into(),
        rotary: RotaryPrecision {
            angles: if rounds_angles {
                rounding
            } else {
                Rounding::Float32
            },
            table: rounding,
        },
        rope_ratio: RopeRatio::of(mode),
    }
}

impl<B: Backend> Pretrained<B> {
    /// Reads a model directory, one tensor at a time: beside the model in its compute type, no more
    /// than one tensor is in memory.
    ///
    /// # Errors
    /// If the configuration or a file is wrong, or a tensor is missing, unknown, or of a wrong shape or
    /// type; all such tensors are named together, before any is read.
    pub fn load(
        dir: &Path,
        mode: Option<Mode>,
        dtype: DType,
        device: &B::Device,
        progress: LoadProgress<'_>,
    ) -> Result<Self> {
        Self::load_to(Placement::Device, dir, mode, dtype, device, progress)
    }

    /// As [`load`](Self::load), into the memory of the device or of the host.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_to(
        placement: Placement,
        dir: &Path,
        mode: Option<Mode>,
        dtype: DType,
        device: &B::Device,
        progress: LoadProgress<'_>,
    ) -> Result<Self> {
        let float = FloatType::try_from(dtype)?;
        let config = ModelConfig::from_dir(dir)?;
        let checkpoint = Checkpoint::open(dir)?;
        check_layers(&config, &checkpoint)?;
        let options = build_options(&config, mode, float);
        let mut model = CausalLm::uninitialized(&config, &options, device);
        if let Some(pre_seq_len) = config.common().pre_seq_len {
            let shape = PrefixShape::of(&config, pre_seq_len, config.common().prefix_projection);
            model = model.with_prefix(PrefixEncoder::uninitialized(&shape, dtype, device));
        }
        let entries = checkpoint.entries().filter(|info| !is_buffer(&info.name));
        let source = Source {
            dir,
            tensors: entries.map(|info| (info.name.clone(), info)).collect(),
            read: &|name| checkpoint.read_as(name, float.into()),
        };
        let (model, host) = fill(model, &source, placement, dtype, progress)?;
        Ok(Self {
            config,
            model,
            host,
        })
    }

    /// Attaches the adapter of a directory beside those that are there; a prefix takes the place of one.
    ///
    /// # Errors
    /// If the directory holds no adapter or one that does not fit the model.
    pub fn attach(&mut self, dir: &Path, dtype: DType, device: &B::Device) -> Result<()> {
        let adapter = AdapterDir::open(dir)?;
        self.attach_to_projections(&adapter, dtype, device)?;
        match adapter.as_prefix() {
            Some(prefix) => self.attach_prefix(prefix, dir, dtype, device),
            None => Ok(()),
        }
    }

    fn attach_to_projections(
        &mut self,
        adapter: &AdapterDir,
        dtype: DType,
        device: &B::Device,
    ) -> Result<()> {
        let found = projection_adapters(&mut self.model, adapter, dtype, device)?;
        let mut projections: HashMap<_, _> = self.model.projections_mut().into_iter().collect();
        for (path, found) in found {
            if let Some(layer) = projections.get_mut(&path) {
                layer.adapter = Some(match layer.adapter.take() {
                    Some(attached) => attached.plus(found),
                    None => found,
                });
            }
        }
        Ok(())
    }

    fn attach_prefix(
        &mut self,
        adapter: &PrefixAdapter,
        dir: &Path,
        dtype: DType,
        device: &B::Device,
    ) -> Result<()> {
        let encoder = prefix_of(&self.config, adapter, dir, dtype, device)?;
        *self.model.prefix_slot() = Some(encoder);
        Ok(())
    }
}

/// What an adapter puts on linear layers of a model, each with the layer's path.
///
/// # Errors
/// If the adapter does not fit the model or cannot be read.
pub(crate) fn projection_adapters<B: Backend>(
    model: &mut CausalLm<B>,
    adapter: &AdapterDir,
    dtype: DType,
    device: &B::Device,
) -> Result<Vec<(String, Adapter<B>)>> {
    let layers = model.projections_mut().into_iter();
    let dims: HashMap<String, [usize; 2]> = layers.map(|(path, it)| (path, it.dims())).collect();
    let sites = adapter.sites();
    let faults: Vec<_> = sites
        .iter()
        .filter_map(|site| site_fault(site, dims.get(&site.module).copied()))
        .collect();
    if !faults.is_empty() {
        return Err(Error::Weights {
            path: adapter.path().to_path_buf(),
            faults,
        });
    }
    if adapter.is_without_effect()? {
        tracing::warn!("{}: the adapter changes nothing", adapter.path().display());
    }
    let target = TensorTarget::new(dtype, device)?;
    let mut found = Vec::with_capacity(sites.len());
    for (index, site) in sites.into_iter().enumerate() {
        if let Some(adapter) = adapter.on_projection(index, &target)? {
            found.push((site.module, adapter));
        }
    }
    Ok(found)
}

/// The prefix of a directory for a model of a configuration.
///
/// # Errors
/// If it does not fit the model or cannot be read.
pub(crate) fn prefix_of<B: Backend>(
    config: &ModelConfig,
    adapter: &PrefixAdapter,
    dir: &Path,
    dtype: DType,
    device: &B::Device,
) -> Result<PrefixEncoder<B>> {
    let float = FloatType::try_from(dtype)?;
    let shape = PrefixShape::of(config, adapter.pre_seq_len(), adapter.prefix_projection());
    let encoder = PrefixEncoder::uninitialized(&shape, dtype, device);
    let tensors = adapter.tensors().into_iter().map(|info| {
        let path = info.name.strip_prefix(PREFIX_ENCODER).unwrap_or(&info.name);
        (path.to_string(), info)
    });
    let source = Source {
        dir,
        tensors: tensors.collect(),
        read: &|name| adapter.read(name, float.into()),
    };
    let progress: LoadProgress<'_> = &mut |_, _, _| ();
    let (encoder, _) = fill(encoder, &source, Placement::Device, dtype, progress)?;
    Ok(encoder)
}

/// Whether a directory holds a whole model: one may carry its prefix or lie beside a LoRA, while an adapter's
/// own directory holds nothing else.
pub fn holds_whole_model(dir: &Path) -> bool {
    dir.join("config.json").is_file()
        && Checkpoint::open(dir).is_ok_and(|checkpoint| {
            let mut names = checkpoint.entries().map(|info| info.name.as_str());
            names.any(|name| name.contains("word_embeddings"))
        })
}

/// Refuses a number of layers that the weights cannot have, before a model of so many is built.
fn check_layers(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<()> {
    let (layers, tensors) = (config.common().num_layers, checkpoint.entries().len());
    match layers <= tensors {
        true => Ok(()),
        false => Err(Error::key(
            checkpoint.path().join("config.json"),
            "num_layers",
            layers,
            format!("the layers of the weights, which have {tensors} tensors in all"),
        )),
    }
}

/// What is wrong with an adapter for a linear layer of the given width of input and output.
fn site_fault(site: &Site, dims: Option<[usize; 2]>) -> Option<WeightFault> {
    let key = site.module.clone();
    let [input, output] = site.dims;
    match dims {
        None => Some(WeightFault::Unused { key }),
        Some(dims) if dims != site.dims => Some(WeightFault::Shape {
            key,
            found: vec![output, input],
            expected: vec![dims[1], dims[0]],
        }),
        Some(_) => None,
    }
}

/// Tables that the published modules keep beside their weights and compute anew.
pub(crate) fn is_buffer(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq") || name.ends_with("rotary_pos_emb.inv_freq")
}

/// Tensors that are to fill a module.
struct Source<'a> {
    /// For messages.
    dir: &'a Path,
    /// Each with its path in the module.
    tensors: HashMap<String, &'a TensorInfo>,
    /// Reads a tensor, by its name, in the type of the module.
    read: &'a dyn Fn(&str) -> Result<RawTensor>,
}

/// Fills a module; nothing is read unless everything fits. With it come the weights that live in the
/// host's memory.
fn fill<B: Backend, M: Module<B>>(
    module: M,
    source: &Source<'_>,
    placement: Placement,
    dtype: DType,
    progress: LoadProgress<'_>,
) -> Result<(M, HostWeights)> {
    let faults = compare(&parameters(&module), &source.tensors);
    if !faults.is_empty() {
        return Err(Error::Weights {
            path: source.dir.to_path_buf(),
            faults,
        });
    }
    let mut loader = Loader {
        source,
        leaves: !matches!(placement, Placement::Device),
        host: match placement {
            Placement::Device | Placement::Host => HostWeights::default(),
            Placement::Parts(holders) => HostWeights::shared_out(holders),
        },
        dtype,
        loaded: 0,
        progress,
        error: None,
    };
    let module = map_by_path(module, &mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok((module, loader.host)),
    }
}

/// The faults between the parameters of a module and the tensors that are to fill them.
fn compare(expected: &[ParameterInfo], found: &HashMap<String, &TensorInfo>) -> Vec<WeightFault> {
    let known: HashSet<&str> = expected.iter().map(|info| info.path.as_str()).collect();
    let mut faults: Vec<WeightFault> = expected
        .iter()
        .filter_map(|info| parameter_fault(info, found.get(info.path.as_str()).copied()))
        .collect();
    let mut unused: Vec<&str> = found
        .keys()
        .map(String::as_str)
        .filter(|key| !known.contains(key))
        .collect();
    unused.sort_by(|a, b| natural_order(a, b));
    faults.extend(unused.into_iter().map(|key| WeightFault::Unused {
        key: key.to_string(),
    }));
    faults
}

fn parameter_fault(expected: &ParameterInfo, found: Option<&TensorInfo>) -> Option<WeightFault> {
    let key = expected.path.clone();
    let Some(info) = found else {
        return Some(WeightFault::Missing { key });
    };
    if !info.dtype.is_float() {
        return Some(WeightFault::Type {
            key,
            found: info.dtype.name().to_string(),
        });
    }
    (info.shape != expected.shape).then(|| WeightFault::Shape {
        key,
        found: info.shape.clone(),
        expected: expected.shape.clone(),
    })
}

/// Replaces each parameter by its tensor, read when its turn comes.
struct Loader<'a> {
    source: &'a Source<'a>,
    /// Whether weights that may leave the device do.
    leaves: bool,
    host: HostWeights,
    dtype: DType,
    loaded: usize,
    progress: LoadProgress<'a>,
    error: Option<Error>,
}

impl Loader<'_> {
    fn read(&mut self, path: &str) -> Option<TensorData> {
        let info = self.source.tensors.get(path)?;
        (self.progress)(&info.name, self.loaded, self.source.tensors.len());
        self.loaded += 1;
        let raw =
            (self.source.read)(&info.name).and_then(|raw| finite(self.source.dir, &info.name, raw));
        raw.and_then(to_data)
            .map_err(|error| self.error = Some(error))
            .ok()
    }
}

impl<B: Backend> PathMapper<B> for Loader<'_> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>> {
        // After the first error nothing more is read.
        if self.error.is_some() {
            return param;
        }
        let Some(data) = self.read(path) else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        if self.leaves && may_leave(path, &data.shape) {
            let shape = data.shape.clone();
            let tensor = self.host.hold(data);
            if tensor.device_parts().is_none() {
                make_room::<B, D>(shape, &device, self.dtype);
            }
            self.host.insert(path.to_string(), tensor.clone());
            return tensor.parameter(id, device, false);
        }
        let tensor = upload(data, &device, self.dtype);
        param.transform_for_load(tensor, id)
    }
}

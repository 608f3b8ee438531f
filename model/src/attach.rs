//! Adapters meet a model.

use burn::tensor::backend::Backend;

use crate::adapters::{AdapterSettings, ModelOutline, Place};
use crate::causal_lm::{CausalLm, segment_paths};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::parameters::ParameterInfo;
use crate::segment::Segment;

/// Attaches a new adapter; returns the paths of the linear layers that carry one.
pub fn attach_initialized<B: Backend>(
    model: &mut CausalLm<B>,
    config: &ModelConfig,
    settings: &AdapterSettings,
    seed: u64,
    device: &B::Device,
) -> Vec<String> {
    let mut adapted = Vec::new();
    for (path, projection) in model.projections_mut() {
        let layer = (path.as_str(), projection.dims());
        if let Some(adapter) = settings.on_projection(layer, seed, device) {
            projection.adapter = Some(adapter);
            adapted.push(path);
        }
    }
    if let Some(prefix) = settings.prefix(config, seed, device) {
        *model.prefix_slot() = Some(prefix);
    }
    adapted
}

/// Sets the dropout of the adapters that are attached where those of some settings act.
pub fn set_dropout<B: Backend>(model: &mut CausalLm<B>, settings: &AdapterSettings) {
    let rate = settings.dropout();
    match settings.kind().place() {
        Place::Projections => {
            let projections = model.projections_mut().into_iter();
            for adapter in projections.filter_map(|(_, layer)| layer.adapter.as_mut()) {
                adapter.set_dropout(rate);
            }
        }
        Place::Prefix => {
            if let Some(prefix) = model.prefix_slot() {
                prefix.dropout = rate;
            }
        }
    }
}

/// The paths of the linear layers that can carry an adapter.
pub fn projection_paths<B: Backend>(model: &mut CausalLm<B>) -> Vec<String> {
    let projections = model.projections_mut().into_iter();
    projections.map(|(path, _)| path).collect()
}

/// The outline of a model with these parameters.
///
/// # Errors
/// If they are not those of the configuration's architecture.
pub fn outline<'a>(
    config: &'a ModelConfig,
    parameters: &[ParameterInfo],
) -> Result<ModelOutline<'a>> {
    let segments = segment_paths(config);
    let mut projections = Vec::new();
    for info in parameters {
        let segment = segments.of(&info.path)?;
        let path = info.path.strip_suffix(".weight");
        if let (Segment::Block(_) | Segment::Head, Some(path), [output, input]) =
            (segment, path, info.shape.as_slice())
        {
            projections.push((path.to_string(), [*input, *output]));
        }
    }
    Ok(ModelOutline {
        config,
        projections,
    })
}

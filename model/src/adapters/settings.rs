//! What the settings of an adapter say before there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::stored::StoredForm;
use crate::config::ModelConfig;
use crate::parameters::ParameterInfo;

/// A size that a setting asks for is counted up to here; beyond it is as much too much.
const LARGEST: usize = 1 << 20;

/// The linear layers that can carry an adapter, of a model that need not be there.
#[derive(Debug, Clone)]
pub struct ModelOutline<'a> {
    /// The configuration.
    pub config: &'a ModelConfig,
    /// Each layer's path with the widths of its input and output.
    pub projections: Vec<(String, [usize; 2])>,
}

/// A name of a setting that matches no layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The setting.
    pub setting: &'static str,
    /// The name.
    pub name: String,
    /// Names that match one.
    pub known: BTreeSet<String>,
}

/// What an adapter keeps of its layer's pass until the backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptByAdapter {
    /// Whether it reads the layer's input again.
    pub input: bool,
    /// Whether that is a copy of its own, as after dropout.
    pub copies_input: bool,
    /// Elements per token beside it.
    pub width: usize,
}

/// The settings of one kind.
pub trait Settings {
    /// What no adapter can have, all of it.
    fn faults(&self) -> Vec<String>;

    /// Share of the elements that training drops.
    fn dropout(&self) -> f64;

    /// What such a training is called beside others of its kind, where the kind's name would not do.
    fn variant(&self) -> Option<&'static str> {
        None
    }

    /// The parameters that the adapter adds.
    fn parameters(&self, outline: &ModelOutline<'_>) -> Vec<ParameterInfo>;

    /// What an adapter of a linear layer keeps there; none where the layer gets none.
    fn kept(&self, module: &str) -> Option<KeptByAdapter> {
        let _ = module;
        None
    }

    /// The first name that matches none of the linear layers.
    fn unmatched(&self, projections: &[String]) -> Option<Unmatched> {
        let _ = projections;
        None
    }

    /// The form in which the adapter is stored that was attached to these layers.
    fn stored(&self, adapted: &[String]) -> Arc<dyn StoredForm>;
}

/// A size, as far as it is counted.
pub(super) fn counted(size: usize) -> usize {
    size.min(LARGEST)
}

/// The fault of a size below 1.
pub(super) fn positive_size(setting: &str, value: usize) -> Option<String> {
    (value < 1).then(|| format!("{setting} is {value}, must be at least 1"))
}

/// The fault of a share that is not one.
pub(super) fn share(setting: &str, value: f64) -> Option<String> {
    (!(0.0..1.0).contains(&value)).then(|| format!("{setting} is {value}, must be 0 to below 1"))
}

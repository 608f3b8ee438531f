//! What the settings of an adapter say before there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::stored::StoredForm;
use super::traced::TracedCall;
use crate::config::ModelConfig;
use crate::layers::memory::HeadTerm;
use crate::memory::{Trace, Traced};
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

    /// What a linear layer does in a training with its adapter, if it gets one: call by call, as the adapter's
    /// forward pass.
    fn traced(&self, trace: &Trace, call: TracedCall<'_>) -> Traced {
        call.output(trace)
    }

    /// What the output layer does with its adapter, if it gets one, before the loss.
    fn traced_head(&self, trace: &Trace, call: TracedCall<'_>) -> (HeadTerm, Option<HeadTerm>) {
        let _ = trace;
        call.head()
    }

    /// Positions that stand before those of every row.
    fn positions(&self) -> usize {
        0
    }

    /// What is computed once for all blocks and so many rows: keys and values before all others.
    fn traced_prefix(&self, trace: &Trace, config: &ModelConfig, rows: u64) -> Option<Traced> {
        let _ = (trace, config, rows);
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

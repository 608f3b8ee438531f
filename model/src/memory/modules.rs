//! The modules of a model whose memory is counted, by their paths.

use std::collections::BTreeMap;

use super::trace::{Trace, Traced};
use crate::adapters::{AdapterSettings, TracedCall};
use crate::layers::memory::{HeadTerm, layer_norm, rms_norm};
use crate::parameters::ParameterInfo;

/// The parameters of a model, and which of them are trained.
#[derive(Debug)]
pub struct TracedModules<'a> {
    by_path: BTreeMap<&'a str, Parameter>,
    adapter: Option<&'a AdapterSettings>,
}

#[derive(Debug, Clone, Copy)]
struct Parameter {
    /// Of a vector, the first is 1.
    dims: [usize; 2],
    is_trained: bool,
}

impl<'a> TracedModules<'a> {
    /// The base model's parameters, each with whether it is trained, and the adapter that is.
    pub fn new(
        parameters: impl IntoIterator<Item = (&'a ParameterInfo, bool)>,
        adapter: Option<&'a AdapterSettings>,
    ) -> Self {
        let by_path = parameters.into_iter().map(|(info, is_trained)| {
            let dims = match info.shape.as_slice() {
                [rows, columns] => [*rows, *columns],
                _ => [1, info.elements()],
            };
            (info.path.as_str(), Parameter { dims, is_trained })
        });
        Self {
            by_path: by_path.collect(),
            adapter,
        }
    }

    fn parameter(&self, trace: &Trace, path: &str) -> Option<Traced> {
        let Parameter { dims, is_trained } = *self.by_path.get(path)?;
        Some(trace.parameter((dims[0] * dims[1]) as u64, is_trained))
    }

    /// A parameter that the architecture has.
    fn required(&self, trace: &Trace, path: &str) -> Traced {
        let parameter = self.parameter(trace, path);
        parameter.unwrap_or_else(|| trace.parameter(0, false))
    }

    /// A table, whole.
    pub fn table(&self, trace: &Trace, path: &str) -> Traced {
        self.required(trace, &format!("{path}.weight"))
    }

    /// A linear layer with its adapter, if it has one, for an input of some rows.
    pub fn linear(&self, trace: &Trace, path: &str, rows: u64, x: Traced) -> Traced {
        let call = self.call(trace, path, rows, x);
        match self.adapter {
            Some(adapter) => adapter.traced(trace, call),
            None => call.output(trace),
        }
    }

    /// The output layer, before the loss.
    pub fn head(
        &self,
        trace: &Trace,
        path: &str,
        rows: u64,
        x: Traced,
    ) -> (HeadTerm, Option<HeadTerm>) {
        let call = self.call(trace, path, rows, x);
        match self.adapter {
            Some(adapter) => adapter.traced_head(trace, call),
            None => call.head(),
        }
    }

    fn call<'p>(&self, trace: &Trace, path: &'p str, rows: u64, input: Traced) -> TracedCall<'p> {
        let weight = format!("{path}.weight");
        let dims = self.by_path.get(weight.as_str());
        let [out, width] = dims.map_or([0, 0], |parameter| parameter.dims);
        TracedCall {
            path,
            dims: [width, out],
            rows,
            input,
            weight: self.required(trace, &weight),
            bias: self.parameter(trace, &format!("{path}.bias")),
        }
    }

    /// A norm without a bias.
    pub fn rms_norm(&self, trace: &Trace, path: &str, x: Traced) -> Traced {
        rms_norm(trace, x, self.table(trace, path))
    }

    /// A norm with a bias.
    pub fn layer_norm(&self, trace: &Trace, path: &str, x: Traced) -> Traced {
        let bias = self.required(trace, &format!("{path}.bias"));
        layer_norm(trace, x, self.table(trace, path), bias)
    }

    /// Whether the model has a module with a weight.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(format!("{path}.weight").as_str())
    }
}

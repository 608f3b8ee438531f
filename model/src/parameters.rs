//! The parameters of a model by the names that the published checkpoints give them.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Its path, which is its key in a checkpoint.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl ParameterInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The parameters of a module in the order of its definition; nothing is initialised by looking.
pub fn parameters<B: Backend, M: Module<B>>(module: &M) -> Vec<ParameterInfo> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.found
}

/// Where a walk over a module stands: the path of the parameter at hand, which is its key in a checkpoint.
#[derive(Debug, Default)]
pub struct ModulePath {
    names: Vec<String>,
}

impl ModulePath {
    /// Steps into a part of a module.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        self.names.push(step(name, container_type));
    }

    /// Steps out again.
    pub fn exit(&mut self, _container_type: &str) {
        self.names.pop();
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.names.iter().filter(|name| !name.is_empty());
        let names: Vec<&str> = named.map(String::as_str).collect();
        f.write_str(&names.join("."))
    }
}

/// What a step adds to the path; nothing where it does not show in the files.
fn step(name: &str, container_type: &str) -> String {
    match container_type {
        // The kind of an adapter, instead of the field that holds whichever it is: `dense.lora.lora_A.weight`.
        "Enum:Adapter" => name.to_lowercase(),
        "Struct:Projection" if name == "adapter" => String::new(),
        // Which architecture it is.
        _ if container_type.starts_with("Enum:") => String::new(),
        _ => name.to_string(),
    }
}

#[derive(Default)]
struct Collector {
    path: ModulePath,
    found: Vec<ParameterInfo>,
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push(ParameterInfo {
            path: self.path.to_string(),
            shape: param.lazy_shape().to_vec(),
        });
    }
}

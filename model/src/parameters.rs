//! The parameters of a model by the names that the published checkpoints give them.

use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
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
    visit_by_path(module, &mut collector);
    collector.found
}

#[derive(Default)]
struct Collector {
    found: Vec<ParameterInfo>,
}

impl<B: Backend> PathVisitor<B> for Collector {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<B, D>>) {
        self.found.push(ParameterInfo {
            path: path.to_string(),
            shape: param.lazy_shape().to_vec(),
        });
    }
}

/// Looks at parameters with their paths.
pub trait PathVisitor<B: Backend> {
    /// Called for each parameter; its path is its key in a checkpoint.
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<B, D>>);
}

/// Shows every parameter of a module to a visitor, in the order of the module's definition.
pub fn visit_by_path<B: Backend, M: Module<B>>(module: &M, visitor: &mut impl PathVisitor<B>) {
    let path = ModulePath::default();
    module.visit(&mut WithPath {
        path,
        inner: visitor,
    });
}

/// Replaces parameters by their paths.
pub trait PathMapper<B: Backend> {
    /// What a parameter becomes; its path is its key in a checkpoint.
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>>;
}

/// The module with every parameter replaced by what a mapper makes of it, in the order of the definition.
pub fn map_by_path<B: Backend, M: Module<B>>(module: M, mapper: &mut impl PathMapper<B>) -> M {
    let path = ModulePath::default();
    module.map(&mut WithPath {
        path,
        inner: mapper,
    })
}

/// A visitor or a mapper, and where in the module it is.
struct WithPath<'a, T> {
    path: ModulePath,
    inner: &'a mut T,
}

impl<B: Backend, V: PathVisitor<B>> ModuleVisitor<B> for WithPath<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.inner.visit(&self.path.to_string(), param);
    }
}

impl<B: Backend, M: PathMapper<B>> ModuleMapper<B> for WithPath<'_, M> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        self.inner.map(&self.path.to_string(), param)
    }
}

/// The path of the parameter at hand, while a module is visited.
#[derive(Debug, Default)]
struct ModulePath {
    names: Vec<String>,
}

impl ModulePath {
    /// Steps into a part of a module.
    fn enter(&mut self, name: &str, container_type: &str) {
        self.names.push(step(name, container_type));
    }

    /// Steps out again.
    fn exit(&mut self) {
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

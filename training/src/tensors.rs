//! Parameters and optimizer states as the bytes of a file, and back.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bytes, DType, Shape, Tensor, TensorData, TensorPrimitive};
use glmtune_model::GlmBackend;
use glmtune_model::checkpoint::{self, Checkpoint, RawTensor};
use glmtune_model::parameters::ModulePath;

use crate::error::Result;

/// The elements of a tensor of any rank in a type.
pub(crate) fn to_raw(data: TensorData, dtype: DType) -> RawTensor {
    let data = data.convert_dtype(dtype);
    RawTensor {
        dtype: match dtype {
            DType::F16 => checkpoint::DType::F16,
            DType::BF16 => checkpoint::DType::BF16,
            _ => checkpoint::DType::F32,
        },
        shape: data.shape.to_vec(),
        bytes: data.bytes.to_vec(),
    }
}

/// The elements of a primitive as float32.
pub(crate) fn primitive_to_raw<B: GlmBackend>(primitive: FloatTensor<B>) -> RawTensor {
    use burn::tensor::TensorMetadata;
    let shape = primitive.shape();
    let flat = B::float_reshape(primitive, Shape::new([shape.num_elements()]));
    let flat = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(flat));
    RawTensor {
        shape: shape.to_vec(),
        ..to_raw(flat.into_data(), DType::F32)
    }
}

/// A float32 primitive of the elements of a file.
pub(crate) fn primitive_from_raw<B: GlmBackend>(
    raw: RawTensor,
    device: &B::Device,
) -> FloatTensor<B> {
    B::float_from_data(to_data(raw), device)
}

fn to_data(raw: RawTensor) -> TensorData {
    TensorData {
        bytes: Bytes::from_bytes_vec(raw.bytes),
        shape: Shape::from(raw.shape),
        dtype: DType::F32,
    }
}

/// The trained parameters of a model by their paths, as float32.
///
/// # Errors
/// None of its own; the signature is that of [`visit`].
pub(crate) fn trained<B: Backend, M: Module<B>>(
    model: &M,
    is_trained: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, RawTensor)>> {
    let mut found = Vec::new();
    visit(model, &mut |path, data| {
        if is_trained(path) {
            found.push((path.to_string(), to_raw(data(), DType::F32)));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Called for each parameter with its path and a way to get its elements.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, &dyn Fn() -> TensorData) -> Result<()>;

/// Visits the parameters of a module in the order of its definition, until one fails.
pub(crate) fn visit<B: Backend, M: Module<B>>(module: &M, visit: Visit<'_>) -> Result<()> {
    let mut visitor = Visitor {
        path: ModulePath::default(),
        visit,
        result: Ok(()),
    };
    module.visit(&mut visitor);
    visitor.result
}

struct Visitor<'a> {
    path: ModulePath,
    visit: Visit<'a>,
    result: Result<()>,
}

impl<B: Backend> ModuleVisitor<B> for Visitor<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.result.is_ok() {
            self.result = (self.visit)(&self.path.to_string(), &|| param.val().into_data());
        }
    }
}

/// Puts float32 elements into the parameters of their paths; the others stay.
///
/// # Errors
/// The first tensor that cannot be read or fits no parameter's shape.
pub(crate) fn restore<B: Backend, M: Module<B>>(module: M, file: &Checkpoint) -> Result<M> {
    let expected = file.entries().map(|info| info.name.clone()).collect();
    let mut restorer = Restorer {
        path: ModulePath::default(),
        file,
        expected,
        error: None,
    };
    let module = module.map(&mut restorer);
    if let Some(name) = restorer.expected.first() {
        let detail = format!("`{name}` fits no parameter of this training");
        return Err(glmtune_model::Error::malformed(file.path(), detail).into());
    }
    match restorer.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

struct Restorer<'a> {
    path: ModulePath,
    file: &'a Checkpoint,
    expected: BTreeSet<String>,
    error: Option<crate::error::Error>,
}

impl<B: Backend> ModuleMapper<B> for Restorer<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.to_string();
        if !self.expected.remove(&path) || self.error.is_some() {
            return param;
        }
        match self.read(&path, &param.lazy_shape().to_vec()) {
            Ok(raw) => {
                let tensor = Tensor::from_data(to_data(raw), (&param.lazy_device(), DType::F32));
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

impl Restorer<'_> {
    fn read(&self, path: &str, shape: &[usize]) -> Result<RawTensor> {
        let raw = self.file.read_as(path, checkpoint::DType::F32)?;
        if raw.shape == shape {
            return Ok(raw);
        }
        let detail = format!("`{path}` has shape {:?}, the model {shape:?}", raw.shape);
        Err(glmtune_model::Error::malformed(self.file.path(), detail).into())
    }
}

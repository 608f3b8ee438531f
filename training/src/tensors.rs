//! Parameters and optimizer states as the bytes of a file, and back.

use std::collections::BTreeSet;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bytes, DType, Shape, Tensor, TensorData, TensorPrimitive, bf16, f16};
use glmtune_model::checkpoint::{self, Checkpoint, RawTensor};
use glmtune_model::host_weights::{HostWeights, value};
use glmtune_model::parameters::{PathMapper, PathVisitor, map_by_path, visit_by_path};
use glmtune_model::resident::upload;
use glmtune_model::{FloatType, GlmBackend};
use rayon::prelude::*;

use crate::checkpoint::contents;
use crate::error::Result;

/// Part `index` of some parts of so many elements each, flat; zeros stand for those beyond the end.
pub(crate) fn flat_part(whole: &TensorData, index: usize, elements: usize) -> TensorData {
    let bytes = elements * whole.dtype.size();
    let begin = (index * bytes).min(whole.bytes.len());
    let end = (begin + bytes).min(whole.bytes.len());
    let mut part = whole.bytes[begin..end].to_vec();
    part.resize(bytes, 0);
    TensorData {
        bytes: Bytes::from_bytes_vec(part),
        shape: Shape::new([elements]),
        dtype: whole.dtype,
    }
}

/// Elements that one task converts at least.
const CHUNK: usize = 1 << 15;

/// The elements of a tensor of any rank as float32.
pub(crate) fn to_raw(data: TensorData) -> RawTensor {
    let data = data.convert_dtype(DType::F32);
    RawTensor {
        dtype: checkpoint::DType::F32,
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
        ..to_raw(flat.into_data())
    }
}

/// A float32 primitive of the elements of a file.
pub(crate) fn primitive_from_raw<B: GlmBackend>(
    raw: RawTensor,
    device: &B::Device,
) -> FloatTensor<B> {
    B::float_from_data(to_data(raw), device)
}

/// Float32 elements in another float type, on all threads.
pub(crate) fn narrow(values: &[f32], shape: Shape, dtype: FloatType) -> TensorData {
    let bytes = match dtype {
        FloatType::F16 => Bytes::from_elems(converted(values, f16::from_f32)),
        FloatType::Bf16 => Bytes::from_elems(converted(values, bf16::from_f32)),
        FloatType::F32 => Bytes::from_elems(values.to_vec()),
    };
    TensorData {
        bytes,
        shape,
        dtype: dtype.into(),
    }
}

/// The elements of a float tensor as float32, on all threads.
///
/// # Errors
/// If their type is not one that models are computed in.
pub(crate) fn widen(data: &TensorData) -> Result<Vec<f32>> {
    Ok(match FloatType::try_from(data.dtype)? {
        FloatType::F16 => converted(bytemuck::cast_slice(&data.bytes), f16::to_f32),
        FloatType::Bf16 => converted(bytemuck::cast_slice(&data.bytes), bf16::to_f32),
        FloatType::F32 => bytemuck::cast_slice(&data.bytes).to_vec(),
    })
}

fn converted<T: Copy + Sync, U: Send>(values: &[T], convert: impl Fn(T) -> U + Sync) -> Vec<U> {
    let values = values.par_iter().with_min_len(CHUNK);
    values.map(|&value| convert(value)).collect()
}

/// Float32 elements of a file.
pub(crate) fn to_data(raw: RawTensor) -> TensorData {
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
    collect(is_trained, &mut |take| visit(model, take))
}

/// What a visit finds of the parameters that are chosen, by their paths, as float32.
pub(crate) fn collect(
    is_chosen: &dyn Fn(&str) -> bool,
    visit: &mut dyn FnMut(Visit<'_>) -> Result<()>,
) -> Result<Vec<(String, RawTensor)>> {
    let mut found = Vec::new();
    visit(&mut |path, data| {
        if is_chosen(path) {
            found.push((path.to_string(), to_raw(data()?)));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Called for each parameter with its path and a way to get its elements.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, &dyn Fn() -> Result<TensorData>) -> Result<()>;

/// Visits the parameters of a module in the order of its definition, until one fails.
pub(crate) fn visit<B: Backend, M: Module<B>>(module: &M, visit: Visit<'_>) -> Result<()> {
    let mut visitor = Visitor {
        visit,
        result: Ok(()),
    };
    visit_by_path(module, &mut visitor);
    visitor.result
}

struct Visitor<'a> {
    visit: Visit<'a>,
    result: Result<()>,
}

impl<B: Backend> PathVisitor<B> for Visitor<'_> {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<B, D>>) {
        if self.result.is_ok() {
            self.result = (self.visit)(path, &|| Ok(value(param).into_data()));
        }
    }
}

/// Puts elements into the parameters of their paths, in the types and places of those; the others stay.
///
/// # Errors
/// The first tensor that cannot be read or fits no parameter's shape.
pub(crate) fn restore<B: Backend, M: Module<B>>(
    module: M,
    host: &mut HostWeights,
    file: &Checkpoint,
) -> Result<M> {
    let expected = file.entries().map(|info| info.name.clone()).collect();
    let mut restorer = Restorer {
        host,
        file,
        expected,
        error: None,
    };
    let module = map_by_path(module, &mut restorer);
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
    host: &'a mut HostWeights,
    file: &'a Checkpoint,
    expected: BTreeSet<String>,
    error: Option<crate::error::Error>,
}

impl<B: Backend> PathMapper<B> for Restorer<'_> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>> {
        if !self.expected.remove(path) || self.error.is_some() {
            return param;
        }
        let data = match self.read(path, &param.lazy_shape().to_vec()) {
            Ok(raw) => to_data(raw),
            Err(error) => {
                self.error = Some(error);
                return param;
            }
        };
        let (id, device) = (param.id, param.lazy_device());
        if let Some(before) = self.host.get(path) {
            let tensor = before.with_data(data.convert_dtype(before.dtype()));
            self.host.insert(path.to_string(), tensor.clone());
            return tensor.parameter(id, device, true);
        }
        let tensor = upload(data, &device, param.dtype());
        param.transform_for_load(tensor, id)
    }
}

impl Restorer<'_> {
    fn read(&self, path: &str, shape: &[usize]) -> Result<RawTensor> {
        let raw = contents::read(self.file, path, f32::MIN)?;
        if raw.shape == shape {
            return Ok(raw);
        }
        let detail = format!("`{path}` has shape {:?}, the model {shape:?}", raw.shape);
        Err(glmtune_model::Error::malformed(self.file.path(), detail).into())
    }
}

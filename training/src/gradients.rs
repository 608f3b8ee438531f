//! Gradients by the path of their parameter: collected, added up, measured.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::backend::ExecutionError;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorData, TensorMetadata, TensorPrimitive, Transaction};
use glmtune_model::parameters::{PathVisitor, visit_by_path};
use glmtune_model::{CausalLm, GlmBackend, device_health};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::optim::ops::TrainingBackend;
use crate::tensors::widen;

/// Elements of a partial sum.
const CHUNK: usize = 1 << 15;

/// The gradient of one parameter.
#[derive(Debug, Clone)]
pub enum Gradient<B: GlmBackend> {
    /// On the device.
    Device(FloatTensor<B>),
    /// In the host's memory, float32, row-major.
    Host(Vec<f32>),
}

impl<B: GlmBackend> Gradient<B> {
    /// The gradient in the host's memory.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn into_host(self) -> Result<Vec<f32>> {
        match self {
            Self::Host(values) => Ok(values),
            Self::Device(tensor) => read(as_it_lies::<B>(tensor)),
        }
    }

    /// The gradient on a device, in a shape.
    pub fn into_device(self, shape: Shape, device: &B::Device) -> FloatTensor<B> {
        match self {
            Self::Device(tensor) => tensor,
            Self::Host(values) => B::float_from_data(TensorData::new(values, shape), device),
        }
    }

    fn plus(self, other: Self) -> Result<Self> {
        match (self, other) {
            (Self::Device(sum), Self::Device(other)) => Ok(Self::Device(B::float_add(sum, other))),
            (Self::Host(mut sum), other) => {
                let other = other.into_host()?;
                sum.par_iter_mut()
                    .zip(&other)
                    .for_each(|(sum, other)| *sum += other);
                Ok(Self::Host(sum))
            }
            (device, host) => host.plus(device),
        }
    }
}

/// Sum of squares in the host's memory, in chunks of a fixed size, so that it does not depend on the
/// number of threads.
fn host_squares(values: &[f32]) -> f64 {
    let squares = |chunk: &[f32]| chunk.iter().map(|x| f64::from(x * x)).sum();
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(squares).collect();
    sums.iter().sum()
}

/// Gradients of parameters, by their paths.
#[derive(Debug, Clone)]
pub struct Gradients<B: GlmBackend> {
    by_path: BTreeMap<String, Gradient<B>>,
}

impl<B: GlmBackend> Default for Gradients<B> {
    fn default() -> Self {
        Self {
            by_path: BTreeMap::new(),
        }
    }
}

impl<B: GlmBackend> Gradients<B> {
    /// Takes the gradients of a model's parameters out of the result of a backward pass.
    pub fn take(
        model: &CausalLm<Autodiff<B>>,
        grads: &mut <Autodiff<B> as AutodiffBackend>::Gradients,
    ) -> Self {
        let mut collector = Collector {
            grads,
            found: Self::default(),
        };
        visit_by_path(model, &mut collector);
        collector.found
    }

    /// Adds the gradients of another pass.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn add(&mut self, other: Self) -> Result<()> {
        for (path, grad) in other.by_path {
            let sum = match self.by_path.remove(&path) {
                Some(sum) => sum.plus(grad)?,
                None => grad,
            };
            self.by_path.insert(path, sum);
        }
        Ok(())
    }

    /// Some of the same parameters' gradients, each with what was added up here, which goes.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub(crate) fn completed_by(&mut self, last: Self) -> Result<Self> {
        let mut whole = Self::default();
        for (path, grad) in last.by_path {
            let sum = match self.by_path.remove(&path) {
                Some(sum) => sum.plus(grad)?,
                None => grad,
            };
            whole.by_path.insert(path, sum);
        }
        Ok(whole)
    }

    /// Number of elements of all gradients.
    pub(crate) fn elements(&self) -> usize {
        let gradients = self.by_path.values();
        gradients
            .map(|grad| match grad {
                Gradient::Device(tensor) => tensor.shape().num_elements(),
                Gradient::Host(values) => values.len(),
            })
            .sum()
    }

    /// The gradients moved to the host's memory.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn into_host(self) -> Result<Self> {
        let (mut by_path, mut paths, mut tensors) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (path, grad) in self.by_path {
            match grad {
                Gradient::Host(_) => drop(by_path.insert(path, grad)),
                Gradient::Device(tensor) => {
                    paths.push(path);
                    tensors.push(as_it_lies::<B>(tensor));
                }
            }
        }
        let read = read_together(tensors)?.into_iter().map(Gradient::Host);
        by_path.extend(paths.into_iter().zip(read));
        Ok(Self { by_path })
    }

    /// Takes the gradients of some parameters out.
    pub(crate) fn split_off(&mut self, is_taken: &dyn Fn(&str) -> bool) -> Self {
        let all = std::mem::take(&mut self.by_path).into_iter();
        let (taken, left) = all.partition(|(path, _)| is_taken(path));
        self.by_path = left;
        Self { by_path: taken }
    }

    /// Puts the gradient of a parameter in.
    pub(crate) fn insert(&mut self, path: String, grad: Gradient<B>) {
        self.by_path.insert(path, grad);
    }

    /// The gradients by the paths of their parameters.
    pub fn into_paths(self) -> BTreeMap<String, Gradient<B>> {
        self.by_path
    }

    /// The gradients with the paths of their parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Gradient<B>)> {
        let by_path = self.by_path.iter();
        by_path.map(|(path, grad)| (path.as_str(), grad))
    }

    /// Whether a parameter has a gradient.
    pub fn contains(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }
}

impl<B: TrainingBackend> Gradients<B> {
    /// The L2 norm over all gradients together; not finite if any element is not.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn global_norm(&self) -> Result<f64> {
        let (sum, on_devices) = self.partial_squares();
        let read = read_together(on_devices)?.concat();
        Ok(read
            .into_iter()
            .fold(sum, |sum, part| sum + f64::from(part))
            .sqrt())
    }

    /// The sum of the squares of all elements in the host's memory, and for each device parts of the sum over its
    /// own.
    pub(crate) fn partial_squares(&self) -> (f64, Vec<Tensor<B, 1>>) {
        let mut sum = 0.0;
        let mut on_device: Vec<(B::Device, Vec<FloatTensor<B>>)> = Vec::new();
        for grad in self.by_path.values() {
            match grad {
                Gradient::Host(values) => sum += host_squares(values),
                Gradient::Device(tensor) => {
                    let device = B::float_device(tensor);
                    match on_device.iter_mut().find(|(other, _)| *other == device) {
                        Some((_, tensors)) => tensors.push(tensor.clone()),
                        None => on_device.push((device, vec![tensor.clone()])),
                    }
                }
            }
        }
        let parts = on_device.into_iter();
        let parts = parts.map(|(_, tensors)| float(B::glm_squares(tensors)));
        (sum, parts.collect())
    }
}

/// A tensor of any rank, to be read: on CUDA rows are pitched, and a reshape to one axis would copy them, which
/// opens a page of the device's pools that is as large as the largest gradients.
fn as_it_lies<B: GlmBackend>(tensor: FloatTensor<B>) -> Tensor<B, 1> {
    float(tensor)
}

/// A tensor around a float primitive.
pub(crate) fn float<B: GlmBackend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The values of a float tensor as float32.
pub(crate) fn read<B: GlmBackend>(tensor: Tensor<B, 1>) -> Result<Vec<f32>> {
    Ok(read_together(vec![tensor])?.concat())
}

/// The values of float tensors as float32; each device is waited for once.
pub(crate) fn read_together<B: GlmBackend>(tensors: Vec<Tensor<B, 1>>) -> Result<Vec<Vec<f32>>> {
    let mut by_device: Vec<(B::Device, Vec<usize>, Transaction<B>)> = Vec::new();
    let count = tensors.len();
    for (index, tensor) in tensors.into_iter().enumerate() {
        let device = tensor.device();
        let place = by_device.iter().position(|(other, ..)| *other == device);
        let (_, indexes, transaction) = match place {
            Some(place) => by_device.swap_remove(place),
            None => (device.clone(), Vec::new(), Transaction::default()),
        };
        let indexes = indexes.into_iter().chain([index]).collect();
        by_device.push((device, indexes, transaction.register(tensor)));
    }
    let mut values = vec![Vec::new(); count];
    for (_, indexes, transaction) in by_device {
        let read = transaction.try_execute().map_err(unreadable)?;
        for (index, data) in indexes.into_iter().zip(read) {
            values[index] = widen(&data)?;
        }
    }
    Ok(values)
}

/// A device that cannot be read has failed.
fn unreadable(error: ExecutionError) -> Error {
    device_health::report(&error.to_string());
    match device_health::check() {
        Err(failure) => failure.into(),
        Ok(()) => Error::Model(glmtune_model::Error::Compute(error.to_string())),
    }
}

/// The number in a tensor of one element.
///
/// # Errors
/// If the device fails.
pub(crate) fn scalar<B: GlmBackend>(loss: Tensor<B, 1>) -> Result<f64> {
    Ok(read(loss)?.first().copied().map_or(f64::NAN, f64::from))
}

struct Collector<'a, B: GlmBackend> {
    grads: &'a mut <Autodiff<B> as AutodiffBackend>::Gradients,
    found: Gradients<B>,
}

impl<B: GlmBackend> PathVisitor<Autodiff<B>> for Collector<'_, B> {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<Autodiff<B>, D>>) {
        if !param.is_initialized() {
            return;
        }
        let tensor = param.val();
        if !tensor.is_require_grad() {
            return;
        }
        if let Some(grad) = tensor.grad_remove(self.grads) {
            let grad = Gradient::Device(grad.into_primitive().tensor());
            self.found.by_path.insert(path.to_string(), grad);
        }
    }
}

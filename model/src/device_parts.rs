//! Weights in parts on several devices (ZeRO-3 in one process), as far as the model knows of them: who keeps the parts
//! knows the backend, a [weight that visits a device](crate::host_weights) does not.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};

use crate::error::{Error, Result};

/// Keeps weights in parts on several devices.
pub trait PartKeeper: Debug + Send + Sync {
    /// Brings the parts of a weight to their devices, where they stay.
    fn keep(&self, whole: TensorData) -> Arc<dyn DeviceParts>;
}

/// A weight in parts on several devices.
pub trait DeviceParts: Debug + Send + Sync {
    /// The whole weight on a device, as a float primitive of the type `form`; `None` if that is none of the backend that
    /// keeps the parts, or `device` none of its devices.
    fn join(&self, device: &dyn Any, form: TypeId) -> Option<Box<dyn Any>>;

    /// The whole weight in the host's memory.
    ///
    /// # Errors
    /// If a device cannot be read.
    fn data(&self) -> Result<TensorData>;

    /// Puts another weight of the same shape and type in its place, wherever it is known.
    fn replace(&self, whole: TensorData);

    /// What it is, for who knows the backend.
    fn as_any(&self) -> &dyn Any;
}

/// The whole weight on a device of a backend.
///
/// # Errors
/// If the parts are kept by another backend.
pub(crate) fn joined<B: Backend, const D: usize>(
    parts: &dyn DeviceParts,
    device: &B::Device,
) -> Result<Tensor<B, D>> {
    let form = TypeId::of::<B::FloatTensorPrimitive>();
    let whole = parts.join(device, form);
    let whole = whole.and_then(|whole| whole.downcast::<B::FloatTensorPrimitive>().ok());
    let foreign = || Error::Compute("parts of a weight lie on another backend".to_string());
    let whole = *whole.ok_or_else(foreign)?;
    Ok(Tensor::from_primitive(TensorPrimitive::Float(whole)))
}

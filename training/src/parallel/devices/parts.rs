//! Tensors in parts on the devices of one process (ZeRO-3, Rajbhandari et al. 2020): each keeps an equal part of every
//! weight that may leave a device, and the one whose turn comes copies the others' parts from them.
//!
//! A device asks when it needs a weight, and the others only lend: nobody waits for a replica that has nothing to do, or
//! that has failed.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bytes, DType, FloatDType, Shape, Tensor, TensorData, TensorMetadata};
use glmtune_model::GlmBackend;
use glmtune_model::device_parts::{DeviceParts, PartKeeper};
use glmtune_model::resident::{make_room, staying, upload};

use crate::error::{Error, Result};
use crate::gradients::float;
use crate::optim::ops::TrainingBackend;
use crate::tensors::flat_part;

/// Elements that a part is a multiple of: two parts of any type begin where a tensor of its own may.
const PART: usize = 256;

/// Elements of each of some parts of a weight; zeros fill up the last ones.
fn part_len(elements: usize, parts: usize) -> usize {
    elements.div_ceil(parts).next_multiple_of(PART)
}

/// The devices that keep a part each, in their order.
#[derive(Debug)]
pub struct Devices<B: GlmBackend>(pub Vec<B::Device>);

impl<B: TrainingBackend> PartKeeper for Devices<B> {
    fn keep(&self, whole: TensorData) -> Arc<dyn DeviceParts> {
        let (shape, dtype) = (whole.shape.clone(), whole.dtype);
        let elements = part_len(shape.num_elements(), self.0.len()) * self.0.len();
        for (index, device) in self.0.iter().enumerate() {
            if !self.0[..index].contains(device) {
                make_room::<B, 1>(Shape::new([elements]), device, dtype);
            }
        }
        Arc::new(Parts::<B>::of(whole, &self.0))
    }
}

/// A tensor in parts.
#[derive(Debug)]
pub struct Parts<B: GlmBackend> {
    /// Flat and equally long, in the order of the devices.
    parts: Mutex<Vec<FloatTensor<B>>>,
    devices: Vec<B::Device>,
    /// Of the whole tensor.
    shape: Shape,
    dtype: DType,
}

impl<B: TrainingBackend> Parts<B> {
    /// Brings the parts of a tensor to some devices, where they stay.
    pub fn of(whole: TensorData, devices: &[B::Device]) -> Self {
        Self {
            parts: Mutex::new(brought::<B>(&whole, devices)),
            devices: devices.to_vec(),
            shape: whole.shape,
            dtype: whole.dtype,
        }
    }

    /// Float32 zeros in parts like these.
    pub fn zeros(&self) -> Self {
        let length = Shape::new([part_len(self.shape.num_elements(), self.devices.len())]);
        let zeros = |device: &B::Device| {
            staying::<B, _, _>(device, length.clone(), |length| {
                B::float_zeros(length, device, FloatDType::F32)
            })
        };
        self.with(self.devices.iter().map(zeros).collect(), DType::F32)
    }

    /// These elements in float32.
    pub fn widened(&self) -> Self {
        let parts = self.lock().clone().into_iter().zip(&self.devices);
        let parts = parts.map(|(part, device)| {
            staying::<B, _, _>(device, part, |part| B::float_cast(part, FloatDType::F32))
        });
        self.with(parts.collect(), DType::F32)
    }

    fn with(&self, parts: Vec<FloatTensor<B>>, dtype: DType) -> Self {
        Self {
            parts: Mutex::new(parts),
            devices: self.devices.clone(),
            shape: self.shape.clone(),
            dtype,
        }
    }

    /// Takes over the elements of others in the same parts, rounded to this type.
    pub fn round_from(&self, others: &Self) {
        // What was there goes first, so that no device has both.
        drop(self.take());
        let parts = others.lock().clone().into_iter().zip(&self.devices);
        let parts = parts.map(|(part, device)| {
            staying::<B, _, _>(device, part, |part| B::float_cast(part, self.dtype.into()))
        });
        self.put(parts.collect());
    }

    /// Shape of the whole tensor.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The devices, in the order of the parts.
    pub fn devices(&self) -> &[B::Device] {
        &self.devices
    }

    /// Takes the parts out, to be changed where they are. Until they are [put back](Self::put) there are none.
    pub fn take(&self) -> Vec<FloatTensor<B>> {
        std::mem::take(&mut *self.lock())
    }

    /// Puts other parts in the place of these, in the same order.
    pub fn put(&self, parts: Vec<FloatTensor<B>>) {
        *self.lock() = parts;
    }

    /// The parts that lie on the same devices as these, out of whole tensors of the same shape, one on each device.
    ///
    /// # Errors
    /// If a device has none.
    pub fn alike(&self, whole: &[FloatTensor<B>]) -> Result<Vec<FloatTensor<B>>> {
        let length = part_len(self.shape.num_elements(), self.devices.len());
        let parts = self.devices.iter().enumerate().map(|(index, device)| {
            let own = whole.iter().find(|own| B::float_device(own) == *device);
            let own = own.ok_or_else(|| {
                let what = "a device has not computed a gradient of its part of a weight";
                Error::Model(glmtune_model::Error::Compute(what.to_string()))
            })?;
            Ok(cut_out::<B>(own.clone(), index * length, length))
        });
        parts.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FloatTensor<B>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a tensor on their devices.
fn brought<B: TrainingBackend>(whole: &TensorData, devices: &[B::Device]) -> Vec<FloatTensor<B>> {
    let elements = part_len(whole.shape.num_elements(), devices.len());
    let parts = devices.iter().enumerate().map(|(index, device)| {
        let part = flat_part(whole, index, elements);
        let part = upload::<B, 1>(part, device, whole.dtype);
        part.into_primitive().tensor()
    });
    parts.collect()
}

/// Some elements of a tensor as a row; zeros stand for those beyond its end.
fn cut_out<B: TrainingBackend>(
    whole: FloatTensor<B>,
    begin: usize,
    length: usize,
) -> FloatTensor<B> {
    let elements = whole.shape().num_elements();
    let (device, dtype) = (B::float_device(&whole), whole.dtype());
    let row = float::<B, 1>(B::float_reshape(whole, Shape::new([elements])));
    let found = length.min(elements.saturating_sub(begin));
    let zeros = |count: usize| Tensor::<B, 1>::zeros([count], (&device, dtype));
    let part = match found {
        0 => zeros(length),
        _ if found == length => row.narrow(0, begin, length),
        _ => Tensor::cat(vec![row.narrow(0, begin, found), zeros(length - found)], 0),
    };
    part.into_primitive().tensor()
}

impl<B: TrainingBackend> DeviceParts for Parts<B> {
    fn join(&self, device: &dyn Any, form: TypeId) -> Option<Box<dyn Any>> {
        let device = device.downcast_ref::<B::Device>()?;
        let join = || {
            let parts = self.lock().clone();
            B::glm_join(parts, self.shape.clone(), device)
        };
        if form == TypeId::of::<FloatTensor<B>>() {
            return Some(Box::new(join()));
        }
        let is_tracked = form == TypeId::of::<FloatTensor<Autodiff<B>>>();
        is_tracked.then(|| Box::new(<Autodiff<B> as AutodiffBackend>::from_inner(join())) as _)
    }

    fn data(&self) -> glmtune_model::Result<TensorData> {
        let parts = self.lock().clone().into_iter();
        let mut bytes = Vec::with_capacity(self.shape.num_elements() * self.dtype.size());
        for part in parts {
            let part = float::<B, 1>(part).try_into_data();
            let part = part.map_err(|error| glmtune_model::Error::Compute(error.to_string()))?;
            bytes.extend_from_slice(&part.bytes);
        }
        bytes.truncate(self.shape.num_elements() * self.dtype.size());
        Ok(TensorData {
            bytes: Bytes::from_bytes_vec(bytes),
            shape: self.shape.clone(),
            dtype: self.dtype,
        })
    }

    fn replace(&self, whole: TensorData) {
        let mut held = self.lock();
        // What was there goes first, so that no device has both.
        held.clear();
        *held = brought::<B>(&whole, &self.devices);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::bf16;
    use burn_flex::{Flex, FlexDevice};
    use glmtune_model::host_weights::{Holders, HostWeights};

    use super::*;

    /// Whatever the numbers of elements and devices, a device gets the weight back, in its own type, tracked or not.
    #[test]
    fn parts_make_the_whole() {
        for (devices, shape) in [(2, [32, 16]), (3, [5, 2]), (4, [1, 3]), (1, [70, 9])] {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| at as f32).collect();
            let whole = TensorData::new(values, shape).convert::<bf16>();
            let keeper = Arc::new(Devices::<Flex>(vec![FlexDevice; devices]));
            let mut host = HostWeights::shared_out(Holders::Devices(keeper));
            let held = host.hold(whole.clone());
            assert_eq!(held.data().unwrap(), whole);
            let plain = held.parameter::<Flex, 2>(ParamId::new(), FlexDevice, false);
            assert_eq!(plain.val().into_data(), whole);
            let tracked = held.parameter::<Autodiff<Flex>, 2>(ParamId::new(), FlexDevice, true);
            assert!(tracked.val().is_require_grad());
            assert_eq!(tracked.val().into_data(), whole);

            // What each device has computed of the whole becomes theirs.
            let parts = held.device_parts().unwrap().as_any();
            let parts = parts.downcast_ref::<Parts<Flex>>().unwrap();
            let gradient = plain.val().into_primitive().tensor();
            let alike = parts.with(parts.alike(&[gradient]).unwrap(), parts.dtype());
            assert_eq!(alike.data().unwrap(), whole);
            let widened = parts.widened().data().unwrap();
            assert_eq!(widened, whole.clone().convert::<f32>());

            // A new weight is known to whoever knows the old one.
            let other = TensorData::ones::<bf16, _>(shape);
            host.insert("w".to_string(), held.with_data(other.clone()));
            let read = held.parameter::<Flex, 2>(ParamId::new(), FlexDevice, false);
            assert_eq!(read.val().into_data(), other);
            assert_eq!(host.get("w").unwrap().data().unwrap(), other);
        }
    }
}

//! Weights that live off the device that computes with them, and visit it: in the host's memory, or in parts on several
//! devices.
//!
//! Such a weight is a parameter that has not been initialised: reading it brings it to the device. A pass
//! reads it on a copy of the model, whose parameters are initialised for themselves; when the copy is
//! dropped, the weight leaves the device. On the CPU nothing is copied, the tensor shares the memory.
//!
//! Where several processes share out the weights, each keeps a part of every such weight, and reading it brings the
//! parts of all together ([`Sharding`]). Where several devices of one process do, the parts are on the devices
//! ([`PartKeeper`]), and reading it joins them on the one that asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, Tensor, TensorData};

use crate::device_health;
use crate::device_parts::{DeviceParts, PartKeeper, joined};
use crate::error::Result;
use crate::parameters::{PathMapper, PathVisitor, map_by_path, visit_by_path};

/// How processes share out weights (ZeRO-3, Rajbhandari et al. 2020).
pub trait Sharding: Debug + Send + Sync {
    /// This process's part of a weight, flat; all parts of a weight have the same number of elements.
    fn part(&self, whole: TensorData) -> TensorData;

    /// The parts of a weight of all processes, one after the other. All of them ask for the same weights in the same
    /// order.
    ///
    /// # Errors
    /// If the others cannot be reached.
    fn parts(&self, own: TensorData) -> Result<Bytes>;
}

/// Who keeps weights in parts.
#[derive(Debug, Clone)]
pub enum Holders {
    /// Several processes, each in its host's memory.
    Processes(Arc<dyn Sharding>),
    /// Several devices of this process.
    Devices(Arc<dyn PartKeeper>),
}

/// The elements of a tensor that visits devices; copies share them.
#[derive(Debug, Clone)]
pub struct HostTensor {
    place: Place,
    /// Of the whole tensor.
    shape: Shape,
    dtype: DType,
}

/// Where the elements are.
#[derive(Debug, Clone)]
enum Place {
    /// In the host's memory.
    Host(bytes::Bytes),
    /// In the memories of several processes' hosts, this process's part here.
    Processes(bytes::Bytes, Arc<dyn Sharding>),
    /// On several devices.
    Devices(Arc<dyn DeviceParts>),
}

/// Burn's bytes as the owner of shared ones: they are aligned for every type.
struct Owner(Bytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn shared(bytes: Bytes) -> bytes::Bytes {
    bytes::Bytes::from_owner(Owner(bytes))
}

impl HostTensor {
    /// Takes over elements.
    pub fn new(data: TensorData) -> Self {
        Self {
            shape: data.shape,
            dtype: data.dtype,
            place: Place::Host(shared(data.bytes)),
        }
    }

    /// The elements in the host's memory. Nothing is copied where they are there; else all parts are brought together,
    /// those of several processes by all of them.
    ///
    /// # Errors
    /// If the others, or a device, cannot be reached.
    pub fn data(&self) -> Result<TensorData> {
        match &self.place {
            Place::Host(bytes) => Ok(self.held(bytes, self.shape.clone())),
            Place::Processes(bytes, sharding) => {
                let parts = shared(sharding.parts(self.flat(bytes))?);
                Ok(self.held(&parts, self.shape.clone()))
            }
            Place::Devices(parts) => parts.data(),
        }
    }

    /// This process's part of the elements, flat, where several processes have a part each.
    pub fn part(&self) -> Option<TensorData> {
        match &self.place {
            Place::Processes(bytes, _) => Some(self.flat(bytes)),
            Place::Host(_) | Place::Devices(_) => None,
        }
    }

    /// The parts, where they are on several devices.
    pub fn device_parts(&self) -> Option<&dyn DeviceParts> {
        match &self.place {
            Place::Devices(parts) => Some(parts.as_ref()),
            Place::Host(_) | Place::Processes(..) => None,
        }
    }

    /// The same tensor with another part of this process.
    #[must_use]
    pub fn with_part(&self, part: TensorData) -> Self {
        match &self.place {
            Place::Processes(_, sharding) => Self {
                place: Place::Processes(shared(part.bytes), Arc::clone(sharding)),
                ..self.clone()
            },
            Place::Host(_) | Place::Devices(_) => self.clone(),
        }
    }

    /// The same tensor with other elements, in the same place. Parts on devices change wherever they are known.
    #[must_use]
    pub fn with_data(&self, data: TensorData) -> Self {
        let place = match &self.place {
            Place::Host(_) => Place::Host(shared(data.bytes)),
            Place::Processes(_, sharding) => {
                Place::Processes(shared(sharding.part(data).bytes), Arc::clone(sharding))
            }
            Place::Devices(parts) => {
                parts.replace(data);
                Place::Devices(Arc::clone(parts))
            }
        };
        Self {
            place,
            ..self.clone()
        }
    }

    fn flat(&self, bytes: &bytes::Bytes) -> TensorData {
        self.held(bytes, Shape::new([bytes.len() / self.dtype.size()]))
    }

    /// What is here.
    fn held(&self, bytes: &bytes::Bytes, shape: Shape) -> TensorData {
        // Parts may have zeros at their end.
        let end = shape.num_elements() * self.dtype.size();
        let bytes = bytes.slice(..end.min(bytes.len()));
        TensorData {
            // CubeCL 0.10 copies what it uploads, into memory that is not pinned, whatever it is (`do_create` in
            // its `client.rs`); marked as a file's, it would be copied twice.
            bytes: Bytes::from_shared(bytes, AllocationProperty::Other),
            shape,
            dtype: self.dtype,
        }
    }

    /// Shape of the whole tensor.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A parameter that reads these elements when it is read itself.
    pub fn parameter<B: Backend, const D: usize>(
        &self,
        id: ParamId,
        device: B::Device,
        require_grad: bool,
    ) -> Param<Tensor<B, D>> {
        let this = self.clone();
        Param::uninitialized(
            id,
            move |device, require_grad| {
                let tensor = this.visiting(device).unwrap_or_else(|error| {
                    // Whoever reads a parameter cannot be told; the pass that reads it ends in this failure.
                    device_health::report(&error.to_string());
                    let zeros = TensorData::zeros::<f32, _>(this.shape.clone());
                    Tensor::from_data(zeros, (device, this.dtype))
                });
                tensor.set_require_grad(require_grad)
            },
            device,
            require_grad,
            self.shape.clone(),
        )
    }

    /// The elements on a device.
    fn visiting<B: Backend, const D: usize>(&self, device: &B::Device) -> Result<Tensor<B, D>> {
        match &self.place {
            Place::Devices(parts) => joined(parts.as_ref(), device),
            Place::Host(_) | Place::Processes(..) => {
                Ok(Tensor::from_data(self.data()?, (device, self.dtype)))
            }
        }
    }
}

/// Whether a parameter lives off the device, and visits it.
pub fn is_offloaded<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> bool {
    !param.is_initialized()
}

/// The value of a parameter, which does not stay on the device if it only visits it.
pub fn value<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Tensor<B, D> {
    match is_offloaded(param) {
        true => param.clone().val(),
        false => param.val(),
    }
}

/// The weights of a model that visit devices, by their paths.
#[derive(Debug, Clone, Default)]
pub struct HostWeights {
    by_path: BTreeMap<String, HostTensor>,
    /// A parameter does not tell whether it is trained unless it is read.
    trained: BTreeSet<String>,
    /// Who keeps them in parts, where that is so.
    holders: Option<Holders>,
}

impl HostWeights {
    /// No weights yet; those to come are kept in parts.
    pub fn shared_out(holders: Holders) -> Self {
        Self {
            holders: Some(holders),
            ..Self::default()
        }
    }

    /// Whether processes share them out.
    pub fn is_sharded(&self) -> bool {
        matches!(self.holders, Some(Holders::Processes(_)))
    }

    /// The paths of those of which each process keeps a part.
    pub fn shared(&self) -> impl Iterator<Item = &str> {
        let paths = self.by_path.keys().map(String::as_str);
        paths.filter(|_| self.is_sharded())
    }

    /// A weight as it is kept here.
    pub fn hold(&self, data: TensorData) -> HostTensor {
        let (shape, dtype) = (data.shape.clone(), data.dtype);
        let place = match &self.holders {
            None => Place::Host(shared(data.bytes)),
            Some(Holders::Processes(sharding)) => {
                Place::Processes(shared(sharding.part(data).bytes), Arc::clone(sharding))
            }
            Some(Holders::Devices(keeper)) => Place::Devices(keeper.keep(data)),
        };
        HostTensor {
            place,
            shape,
            dtype,
        }
    }

    /// The weight of a parameter, if it visits devices.
    pub fn get(&self, path: &str) -> Option<&HostTensor> {
        self.by_path.get(path)
    }

    /// Puts a weight in, in place of one that may be there.
    pub fn insert(&mut self, path: String, tensor: HostTensor) {
        self.by_path.insert(path, tensor);
    }

    /// Marks the weights that are trained.
    pub fn set_trained(&mut self, is_trained: &dyn Fn(&str) -> bool) {
        let paths = self.by_path.keys().filter(|path| is_trained(path));
        self.trained = paths.cloned().collect();
    }

    /// The paths of those of these weights that have come to stay on the device.
    pub fn strays<B: Backend, M: Module<B>>(&self, module: &M) -> Vec<String> {
        let mut search = StraySearch {
            host: self,
            found: Vec::new(),
        };
        visit_by_path(module, &mut search);
        search.found
    }

    /// A model in which each of these weights will visit the device that is named for its path.
    pub fn bind<B: Backend, M: Module<B>>(
        &self,
        module: M,
        device: &dyn Fn(&str) -> B::Device,
    ) -> M {
        let mut binder = Binder { host: self, device };
        map_by_path(module, &mut binder)
    }
}

struct StraySearch<'a> {
    host: &'a HostWeights,
    found: Vec<String>,
}

impl<B: Backend> PathVisitor<B> for StraySearch<'_> {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<B, D>>) {
        if !is_offloaded(param) && self.host.get(path).is_some() {
            self.found.push(path.to_string());
        }
    }
}

struct Binder<'a, B: Backend> {
    host: &'a HostWeights,
    device: &'a dyn Fn(&str) -> B::Device,
}

impl<B: Backend> PathMapper<B> for Binder<'_, B> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>> {
        let Some(tensor) = self.host.get(path) else {
            return param;
        };
        let is_trained = self.host.trained.contains(path);
        tensor.parameter(param.id, (self.device)(path), is_trained)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    #[derive(Module, Debug)]
    struct Pair<B: Backend> {
        first: Param<Tensor<B, 2>>,
        second: Param<Tensor<B, 2>>,
    }

    /// Reading a copy brings nothing to stay; Burn's own question for a module's devices does.
    #[test]
    fn a_weight_that_is_read_in_its_place_is_a_stray() {
        let tensor = HostTensor::new(TensorData::new(vec![1.0f32; 4], [2, 2]));
        let mut host = HostWeights::default();
        host.insert("first".to_string(), tensor.clone());
        host.insert("second".to_string(), tensor.clone());
        let parameter = || tensor.parameter::<Flex, 2>(ParamId::new(), FlexDevice, false);
        let pair = Pair {
            first: parameter(),
            second: parameter(),
        };
        let _ = pair.clone().first.val();
        let _ = value(&pair.second);
        assert!(host.strays(&pair).is_empty());
        let _ = pair.second.val();
        assert_eq!(host.strays(&pair), ["second"]);
        let _ = pair.devices();
        assert_eq!(host.strays(&pair), ["first", "second"]);
    }
}

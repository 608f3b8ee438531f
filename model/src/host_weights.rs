//! Weights that live in the host's memory and visit the device.
//!
//! Such a weight is a parameter that has not been initialised: reading it brings it to the device. A pass
//! reads it on a copy of the model, whose parameters are initialised for themselves; when the copy is
//! dropped, the weight leaves the device. On the CPU nothing is copied, the tensor shares the memory.
//!
//! Where several processes share out the weights, each keeps a part of every such weight, and reading it brings the
//! parts of all together ([`Sharding`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, Tensor, TensorData};

use crate::device_health;
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

/// The elements of a tensor in the host's memory, or this process's part of them; copies share them.
#[derive(Debug, Clone)]
pub struct HostTensor {
    bytes: bytes::Bytes,
    /// Of the whole tensor.
    shape: Shape,
    dtype: DType,
    /// Whose part it is, where it is one.
    sharding: Option<Arc<dyn Sharding>>,
}

/// Burn's bytes as the owner of shared ones: they are aligned for every type.
struct Owner(Bytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl HostTensor {
    /// Takes over elements.
    pub fn new(data: TensorData) -> Self {
        Self {
            shape: data.shape,
            dtype: data.dtype,
            bytes: bytes::Bytes::from_owner(Owner(data.bytes)),
            sharding: None,
        }
    }

    /// The elements. Nothing is copied where they are here; else all processes bring them together.
    ///
    /// # Errors
    /// If the others cannot be reached.
    pub fn data(&self) -> Result<TensorData> {
        let (Some(sharding), Some(part)) = (&self.sharding, self.part()) else {
            return Ok(self.held(self.shape.clone()));
        };
        let whole = Self {
            bytes: bytes::Bytes::from_owner(Owner(sharding.parts(part)?)),
            sharding: None,
            ..self.clone()
        };
        Ok(whole.held(self.shape.clone()))
    }

    /// This process's part of the elements, flat, where it has only a part.
    pub fn part(&self) -> Option<TensorData> {
        let elements = self.bytes.len() / self.dtype.size();
        self.sharding.as_ref()?;
        Some(self.held(Shape::new([elements])))
    }

    /// The same tensor with another part of this process.
    #[must_use]
    pub fn with_part(&self, part: TensorData) -> Self {
        Self {
            bytes: bytes::Bytes::from_owner(Owner(part.bytes)),
            ..self.clone()
        }
    }

    /// What is here.
    fn held(&self, shape: Shape) -> TensorData {
        // Parts may have zeros at their end.
        let bytes = shape.num_elements() * self.dtype.size();
        let bytes = self.bytes.slice(..bytes.min(self.bytes.len()));
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
                let data = this.data().unwrap_or_else(|error| {
                    // Whoever reads a parameter cannot be told; the pass that reads it ends in this failure.
                    device_health::report(&error.to_string());
                    TensorData::zeros::<f32, _>(this.shape.clone())
                });
                Tensor::from_data(data, (device, this.dtype)).set_require_grad(require_grad)
            },
            device,
            require_grad,
            self.shape.clone(),
        )
    }
}

/// Whether a parameter lives in the host's memory.
pub fn is_offloaded<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> bool {
    !param.is_initialized()
}

/// The value of a parameter, which does not stay on the device if it lives in the host's memory.
pub fn value<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Tensor<B, D> {
    match is_offloaded(param) {
        true => param.clone().val(),
        false => param.val(),
    }
}

/// The weights of a model that live in the host's memory, by their paths.
#[derive(Debug, Clone, Default)]
pub struct HostWeights {
    by_path: BTreeMap<String, HostTensor>,
    /// A parameter does not tell whether it is trained unless it is read.
    trained: BTreeSet<String>,
    /// How processes share them out, where they do.
    sharding: Option<Arc<dyn Sharding>>,
}

impl HostWeights {
    /// No weights yet; of those to come each process keeps its part.
    pub fn sharded(sharding: Arc<dyn Sharding>) -> Self {
        Self {
            sharding: Some(sharding),
            ..Self::default()
        }
    }

    /// Whether processes share them out.
    pub fn is_sharded(&self) -> bool {
        self.sharding.is_some()
    }

    /// The paths of those of which each process keeps a part.
    pub fn shared(&self) -> impl Iterator<Item = &str> {
        let paths = self.by_path.keys().map(String::as_str);
        paths.filter(|_| self.is_sharded())
    }

    /// A weight as it is kept here.
    pub fn hold(&self, data: TensorData) -> HostTensor {
        let Some(sharding) = &self.sharding else {
            return HostTensor::new(data);
        };
        let shape = data.shape.clone();
        HostTensor {
            shape,
            sharding: Some(Arc::clone(sharding)),
            ..HostTensor::new(sharding.part(data))
        }
    }

    /// The weight of a parameter, if it lives in the host's memory.
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

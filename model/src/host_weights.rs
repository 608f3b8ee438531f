//! Weights that live in the host's memory and visit the device.
//!
//! Such a weight is a parameter that has not been initialised: reading it brings it to the device. A pass
//! reads it on a copy of the model, whose parameters are initialised for themselves; when the copy is
//! dropped, the weight leaves the device. On the CPU nothing is copied, the tensor shares the memory.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, Tensor, TensorData};

use crate::parameters::{PathMapper, PathVisitor, map_by_path, visit_by_path};

/// The elements of a tensor in the host's memory; copies share them.
#[derive(Debug, Clone)]
pub struct HostTensor {
    bytes: bytes::Bytes,
    shape: Shape,
    dtype: DType,
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
        }
    }

    /// The elements; nothing is copied.
    pub fn data(&self) -> TensorData {
        TensorData {
            // CubeCL 0.10 copies what it uploads, into memory that is not pinned, whatever it is (`do_create` in
            // its `client.rs`); marked as a file's, it would be copied twice.
            bytes: Bytes::from_shared(self.bytes.clone(), AllocationProperty::Other),
            shape: self.shape.clone(),
            dtype: self.dtype,
        }
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
                let tensor = Tensor::from_data(this.data(), (device, this.dtype));
                tensor.set_require_grad(require_grad)
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
}

impl HostWeights {
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

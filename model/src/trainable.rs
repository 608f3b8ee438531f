//! The choice of what is trained.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::host_weights::is_offloaded;
use crate::layers::to_type;
use crate::parameters::{PathMapper, map_by_path};
use crate::resident::staying;

/// Makes exactly those parameters trainable whose path is accepted. A trainable parameter gets the type
/// `master`, float32 where updates are to be exact, unless it lives in the host's memory; the others keep
/// their type and are not tracked, so that they cost no gradient and no activation that only their gradient
/// would need.
pub fn set_trainable<B: Backend, M: Module<B>>(
    module: M,
    is_trainable: &dyn Fn(&str) -> bool,
    master: DType,
) -> M {
    let mut selector = Selector {
        is_trainable,
        master,
    };
    map_by_path(module, &mut selector)
}

struct Selector<'a> {
    is_trainable: &'a dyn Fn(&str) -> bool,
    master: DType,
}

impl<B: Backend> PathMapper<B> for Selector<'_> {
    fn map<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<B, D>>,
    ) -> Param<Tensor<B, D>> {
        if !(self.is_trainable)(path) {
            return param.set_require_grad(false);
        }
        if is_offloaded(&param) {
            // Its master is with the optimizer.
            return param.set_require_grad(true);
        }
        let (id, tensor, _) = param.consume();
        let device = tensor.device();
        let master = staying::<B, _, _>(&device, tensor, |tensor| to_type(tensor, self.master));
        let master = master.detach();
        Param::initialized(id, master.require_grad())
    }
}

/// A view of a module in which nothing is trained: a pass over it builds no graph. Weights in the host's
/// memory stay there.
pub fn frozen<B: Backend, M: Module<B>>(module: &M) -> M {
    module.clone().map(&mut Freezer)
}

struct Freezer;

impl<B: Backend> ModuleMapper<B> for Freezer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.set_require_grad(false)
    }
}

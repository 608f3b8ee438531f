//! Optimizers: how a gradient changes a weight.
//!
//! A new one is a file beside `adamw.rs` that implements [`Optimizer`]; its state is keyed by the paths
//! of parameters, so that a checkpoint names what it holds.

mod adamw;
mod apply;
mod offload;
pub mod ops;
mod shared_out;

pub use adamw::{AdamW, AdamWSettings};
pub(crate) use adamw::{FIRST, SECOND};
pub use apply::apply;
pub(crate) use apply::{apply_and_tell, put_back, taken_out};
pub use offload::OffloadedAdamW;
pub use shared_out::SharedAdamW;

use std::collections::BTreeMap;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorData};
use glmtune_model::GlmBackend;
use glmtune_model::checkpoint::{self, RawTensor, TensorInfo};
use glmtune_model::host_weights::HostTensor;

use crate::error::{Error, Result};
use crate::gradients::Gradient;
use crate::parallel::devices::parts::Parts;

/// What all parameters share in one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub lr: f64,
    /// Number of the update, from 1.
    pub number: u64,
    /// What the gradients are multiplied with first: averaging and clipping in one.
    pub grad_scale: f64,
}

/// A weight where it lives.
#[derive(Debug, Clone)]
pub enum Weight<B: GlmBackend> {
    /// On the device.
    Device(FloatTensor<B>),
    /// In the host's memory, or in parts that are brought there when it is read.
    Host(HostTensor),
    /// This process's part of it, flat, where several processes share it out, and the shape of the whole.
    Part(TensorData, Shape),
}

/// A parameter that is to change.
#[derive(Debug)]
pub struct ParameterUpdate<B: GlmBackend> {
    /// Its path.
    pub path: String,
    /// Its value.
    pub weight: Weight<B>,
    /// The gradient of the loss with respect to it.
    pub grad: Gradient<B>,
}

/// A float32 tensor of an optimizer: of its state, named `<quantity>.<path of the parameter>`, or a master,
/// named by the path. Its elements
/// are fetched when they are wanted: all of them together can be as large as the model three times over.
pub struct StateTensor<'a> {
    /// Name, type and shape.
    pub info: TensorInfo,
    /// The elements as bytes, row-major. Where several processes share the state, all must fetch it.
    pub fetch: Box<dyn Fn() -> Result<Vec<u8>> + 'a>,
}

impl<'a> StateTensor<'a> {
    fn new(name: String, shape: Vec<usize>, fetch: impl Fn() -> Result<Vec<u8>> + 'a) -> Self {
        Self {
            info: TensorInfo::new(name, checkpoint::DType::F32, shape),
            fetch: Box::new(fetch),
        }
    }
}

/// Reads a tensor of a saved state by its name.
pub type ReadState<'a> = &'a dyn Fn(&str) -> Result<RawTensor>;

/// A rule that turns gradients into updates, and the state that it keeps for each parameter.
pub trait Optimizer<B: GlmBackend>: Send {
    /// The weights after an update, in the order of the parameters, each in the type of the weight before it: in its
    /// place, or in the host's memory if the optimizer [updates there](Self::wants_host_gradients).
    ///
    /// # Errors
    /// If the device cannot be read, or the optimizer cannot update a weight in that place.
    fn update(
        &mut self,
        parameters: Vec<ParameterUpdate<B>>,
        update: Update,
    ) -> Result<Vec<Weight<B>>>;

    /// Updates a weight in parts on several devices, each of which has its part of the gradient.
    ///
    /// # Errors
    /// If this optimizer does not update such weights.
    fn update_parts(
        &mut self,
        path: &str,
        _weight: &Parts<B>,
        _grads: Vec<FloatTensor<B>>,
        _update: Update,
    ) -> Result<()> {
        Err(Error::Request(format!(
            "`{path}` is in parts on several devices, where this optimizer does not update"
        )))
    }

    /// Takes over the float32 values of a trained parameter, which the model holds in its compute type, as
    /// its master; an optimizer that updates the model's own float32 weights keeps none.
    fn set_master(&mut self, _path: &str, _values: RawTensor) {}

    /// The masters, named by the paths of their parameters. A parameter that has none is exact in the model.
    fn masters(&self) -> Vec<StateTensor<'_>> {
        Vec::new()
    }

    /// Whether gradients should leave the device as soon as they exist: the update is made in the host's memory.
    fn wants_host_gradients(&self) -> bool {
        false
    }

    /// An optimizer that makes the same updates on another device, of gradients that are the same there, and has seen
    /// none yet; `None` if the update is made in the host's memory, once for all devices.
    fn on_another_device(&self) -> Option<Box<dyn Optimizer<B>>>;

    /// The state, but for the masters: it is the same wherever an optimizer of one kind keeps it.
    fn state(&self) -> Vec<StateTensor<'_>>;

    /// Takes up a state that [`state`](Self::state) gave, a tensor at a time, after the masters.
    ///
    /// # Errors
    /// If it is not the state of this optimizer, or cannot be read.
    fn restore(
        &mut self,
        names: Vec<String>,
        read: ReadState<'_>,
        device: &B::Device,
    ) -> Result<()>;
}

/// The names of a state taken apart by its quantities.
///
/// # Errors
/// If a name belongs to none of them, or a parameter lacks one: it is not the state of this optimizer.
fn by_parameter<const N: usize>(
    names: Vec<String>,
    quantities: [&str; N],
) -> Result<BTreeMap<String, [String; N]>> {
    let mut found: BTreeMap<String, [Option<String>; N]> = BTreeMap::new();
    for name in names {
        let place = quantities.iter().enumerate().find_map(|(index, quantity)| {
            let path = name.strip_prefix(quantity)?.strip_prefix('.')?;
            Some((index, path.to_string()))
        });
        let (index, path) = place.ok_or_else(|| foreign(&name))?;
        found.entry(path).or_insert_with(|| [const { None }; N])[index] = Some(name);
    }
    let complete = found.into_iter().map(|(path, parts)| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let parts = parts.try_into().map_err(|_| foreign(&path))?;
        Ok((path, parts))
    });
    complete.collect()
}

fn foreign(name: &str) -> Error {
    Error::Request(format!(
        "`{name}` is not a complete state of this optimizer"
    ))
}

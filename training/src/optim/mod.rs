//! Optimizers: how a gradient changes a weight.
//!
//! A new one is a file beside `adamw.rs` that implements [`Optimizer`]; its state is keyed by the paths
//! of parameters, so that a checkpoint names what it holds.

mod adamw;
mod apply;
mod offload;

pub use adamw::{AdamW, AdamWSettings};
pub use apply::apply;
pub use offload::OffloadedAdamW;

use std::collections::BTreeMap;

use burn::tensor::ops::FloatTensor;
use glmtune_model::GlmBackend;
use glmtune_model::checkpoint::RawTensor;

use crate::error::{Error, Result};
use crate::gradients::Gradient;

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

/// A rule that turns gradients into updates, and the state that it keeps for each parameter.
pub trait Optimizer<B: GlmBackend>: Send {
    /// The weight after an update, in the type of the weight before it.
    ///
    /// # Errors
    /// If the device cannot be read.
    fn update(
        &mut self,
        path: &str,
        weight: FloatTensor<B>,
        grad: Gradient<B>,
        update: Update,
    ) -> Result<FloatTensor<B>>;

    /// Whether gradients should leave the device as soon as they exist.
    fn wants_host_gradients(&self) -> bool {
        false
    }

    /// The state: float32 tensors named `<quantity>.<path of the parameter>`.
    fn state(&self) -> Vec<(String, RawTensor)>;

    /// Takes up a state that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If it is not the state of this optimizer.
    fn restore(&mut self, state: Vec<(String, RawTensor)>, device: &B::Device) -> Result<()>;
}

/// A state taken apart by the names of its quantities.
///
/// # Errors
/// If a name belongs to none of them, or a parameter lacks one: it is not the state of this optimizer.
fn by_parameter<const N: usize>(
    state: Vec<(String, RawTensor)>,
    quantities: [&str; N],
) -> Result<BTreeMap<String, [RawTensor; N]>> {
    let mut found: BTreeMap<String, [Option<RawTensor>; N]> = BTreeMap::new();
    for (name, tensor) in state {
        let place = quantities.iter().enumerate().find_map(|(index, quantity)| {
            let path = name.strip_prefix(quantity)?.strip_prefix('.')?;
            Some((index, path.to_string()))
        });
        let (index, path) = place.ok_or_else(|| foreign(&name))?;
        found.entry(path).or_insert_with(|| [const { None }; N])[index] = Some(tensor);
    }
    let complete = found.into_iter().map(|(path, parts)| {
        let parts: Vec<RawTensor> = parts.into_iter().flatten().collect();
        let parts = parts.try_into().map_err(|_| foreign(&path))?;
        Ok((path, parts))
    });
    complete.collect()
}

fn foreign(name: &str) -> Error {
    Error::Request(format!("`{name}` is no complete state of this optimizer"))
}

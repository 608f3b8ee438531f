//! AdamW of weights in parts on several devices (ZeRO-3): each device updates its part, and has master and moments of
//! that alone. What every device has whole, each updates for itself.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorData};
use glmtune_model::checkpoint::RawTensor;
use glmtune_model::device_parts::DeviceParts;

use super::adamw::{FIRST, SECOND};
use super::ops::{AdamMoments, AdamParameter, TrainingBackend};
use super::{
    AdamW, AdamWSettings, Optimizer, ParameterUpdate, ReadState, StateTensor, Update, Weight,
    by_parameter,
};
use crate::error::Result;
use crate::parallel::devices::parts::Parts;
use crate::tensors::to_data;

/// AdamW with the state of some weights in parts on the devices of the weights.
#[derive(Debug)]
pub struct SharedAdamW<B: TrainingBackend> {
    settings: AdamWSettings,
    /// Of what each device has whole.
    own: AdamW<B>,
    /// The paths of the trained weights in parts.
    shared: BTreeSet<String>,
    /// The devices of their parts; none where another optimizer updates them.
    devices: Vec<B::Device>,
    /// Type of the weights.
    dtype: DType,
    /// Float32 values of weights of another type.
    masters: BTreeMap<String, Parts<B>>,
    /// The two moments.
    moments: BTreeMap<String, [Parts<B>; 2]>,
}

impl<B: TrainingBackend> SharedAdamW<B> {
    /// An optimizer that has seen no gradient yet, of a model some of whose trained weights, all of one type, are in parts
    /// on these devices.
    pub fn new(
        settings: AdamWSettings,
        shared: BTreeSet<String>,
        devices: Vec<B::Device>,
        dtype: DType,
    ) -> Self {
        Self {
            settings,
            own: AdamW::new(settings),
            shared,
            devices,
            dtype,
            masters: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }

    /// Whether this optimizer keeps the state of a weight in parts.
    fn keeps(&self, path: &str) -> bool {
        !self.devices.is_empty() && self.shared.contains(path)
    }
}

/// A state tensor in parts.
fn tensor<B: TrainingBackend>(name: String, parts: &Parts<B>) -> StateTensor<'_> {
    StateTensor::new(name, parts.shape().to_vec(), || {
        Ok(parts.data()?.bytes.to_vec())
    })
}

impl<B: TrainingBackend> Optimizer<B> for SharedAdamW<B> {
    fn update(
        &mut self,
        parameters: Vec<ParameterUpdate<B>>,
        update: Update,
    ) -> Result<Vec<Weight<B>>> {
        self.own.update(parameters, update)
    }

    fn update_parts(
        &mut self,
        path: &str,
        weight: &Parts<B>,
        grads: Vec<FloatTensor<B>>,
        update: Update,
    ) -> Result<()> {
        let moments = self.moments.entry(path.to_string());
        let [first, second] = moments.or_insert_with(|| [weight.zeros(), weight.zeros()]);
        let exact = match weight.dtype() {
            DType::F32 => weight,
            _ => {
                let masters = self.masters.entry(path.to_string());
                &*masters.or_insert_with(|| weight.widened())
            }
        };
        let parts = exact
            .take()
            .into_iter()
            .zip(first.take())
            .zip(second.take());
        let parameters = parts.zip(grads).map(|(((weight, first), second), grad)| {
            let moments = AdamMoments { first, second };
            (AdamParameter { weight, moments }, grad)
        });
        let step = self.settings.step(update);
        let updated = B::glm_adamw(parameters.collect(), &step).into_iter();
        let updated = updated
            .map(|AdamParameter { weight, moments }| (weight, (moments.first, moments.second)));
        let (weights, moments): (Vec<_>, Vec<_>) = updated.unzip();
        let (firsts, seconds) = moments.into_iter().unzip();
        first.put(firsts);
        second.put(seconds);
        exact.put(weights);
        if weight.dtype() != DType::F32 {
            weight.round_from(exact);
        }
        Ok(())
    }

    fn on_another_device(&self) -> Option<Box<dyn Optimizer<B>>> {
        let (shared, dtype) = (self.shared.clone(), self.dtype);
        Some(Box::new(Self::new(
            self.settings,
            shared,
            Vec::new(),
            dtype,
        )))
    }

    fn set_master(&mut self, path: &str, values: RawTensor) {
        if self.keeps(path) && self.dtype != DType::F32 {
            let master = Parts::of(to_data(values), &self.devices);
            self.masters.insert(path.to_string(), master);
        }
    }

    fn masters(&self) -> Vec<StateTensor<'_>> {
        let masters = self.masters.iter();
        masters
            .map(|(path, master)| tensor(path.clone(), master))
            .collect()
    }

    fn state(&self) -> Vec<StateTensor<'_>> {
        let shared = self.moments.iter().flat_map(|(path, [first, second])| {
            [(FIRST, first), (SECOND, second)]
                .map(|(quantity, parts)| tensor(format!("{quantity}.{path}"), parts))
        });
        self.own.state().into_iter().chain(shared).collect()
    }

    fn restore(
        &mut self,
        names: Vec<String>,
        read: ReadState<'_>,
        device: &B::Device,
    ) -> Result<()> {
        let is_shared = |name: &String| {
            let path = name.split_once('.').map_or("", |(_, path)| path);
            self.shared.contains(path)
        };
        let (shared, own) = names.into_iter().partition(is_shared);
        self.own.restore(own, read, device)?;
        self.moments.clear();
        for (path, names) in by_parameter(shared, [FIRST, SECOND])? {
            if self.keeps(&path) {
                let [first, second] = names.map(|name| read(&name));
                let parts = |raw: RawTensor| -> Parts<B> {
                    let data: TensorData = to_data(raw);
                    Parts::of(data, &self.devices)
                };
                self.moments.insert(path, [parts(first?), parts(second?)]);
            }
        }
        Ok(())
    }
}

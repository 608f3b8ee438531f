//! AdamW off the device: float32 masters and moments in the host's memory, the update on the processor's
//! threads, and only the weight in its compute type on the device (Ren et al. 2021, ZeRO-Offload).

use std::collections::BTreeMap;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, TensorData, TensorMetadata};
use glmtune_model::GlmBackend;
use glmtune_model::checkpoint::{self, RawTensor};
use glmtune_model::layers::ops::host_adamw;

use super::adamw::{FIRST, SECOND};
use super::{AdamWSettings, Optimizer, Update, by_parameter};
use crate::error::Result;
use crate::gradients::Gradient;

/// Name of the masters in a checkpoint.
const MASTER: &str = "master";

/// AdamW with masters and moments in the host's memory.
#[derive(Debug)]
pub struct OffloadedAdamW {
    settings: AdamWSettings,
    states: BTreeMap<String, HostState>,
}

/// What the host keeps of one parameter.
#[derive(Debug)]
struct HostState {
    shape: Vec<usize>,
    master: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl OffloadedAdamW {
    /// An optimizer that has seen no gradient yet.
    pub fn new(settings: AdamWSettings) -> Self {
        Self {
            settings,
            states: BTreeMap::new(),
        }
    }
}

impl HostState {
    /// The state of a weight that has not been updated yet.
    fn of<B: GlmBackend>(weight: FloatTensor<B>) -> Result<Self> {
        let shape = weight.shape().to_vec();
        let master = Gradient::<B>::Device(weight).into_host()?;
        Ok(Self {
            shape,
            first: vec![0.0; master.len()],
            second: vec![0.0; master.len()],
            master,
        })
    }
}

impl<B: GlmBackend> Optimizer<B> for OffloadedAdamW {
    fn update(
        &mut self,
        path: &str,
        weight: FloatTensor<B>,
        grad: Gradient<B>,
        update: Update,
    ) -> Result<FloatTensor<B>> {
        let (device, dtype) = (B::float_device(&weight), weight.dtype());
        let mut state = match self.states.remove(path) {
            Some(state) => state,
            None => HostState::of::<B>(weight)?,
        };
        let grad = grad.into_host()?;
        let step = self.settings.step(update);
        host_adamw(
            &mut state.master,
            &mut state.first,
            &mut state.second,
            &grad,
            &step,
        );
        let data = TensorData::new(state.master.clone(), Shape::from(state.shape.clone()));
        self.states.insert(path.to_string(), state);
        Ok(B::float_from_data(data.convert_dtype(dtype), &device))
    }

    fn wants_host_gradients(&self) -> bool {
        true
    }

    fn state(&self) -> Vec<(String, RawTensor)> {
        let raw = |shape: &[usize], values: &[f32]| RawTensor {
            dtype: checkpoint::DType::F32,
            shape: shape.to_vec(),
            bytes: bytemuck::cast_slice(values).to_vec(),
        };
        let states = self.states.iter();
        states
            .flat_map(|(path, state)| {
                let parts = [
                    (MASTER, &state.master),
                    (FIRST, &state.first),
                    (SECOND, &state.second),
                ];
                parts.map(|(name, values)| (format!("{name}.{path}"), raw(&state.shape, values)))
            })
            .collect()
    }

    fn restore(&mut self, state: Vec<(String, RawTensor)>, _: &B::Device) -> Result<()> {
        let state = by_parameter(state, [MASTER, FIRST, SECOND])?.into_iter();
        let states = state.map(|(path, [master, first, second])| {
            let floats = |raw: RawTensor| bytemuck::pod_collect_to_vec(&raw.bytes);
            let state = HostState {
                shape: master.shape.clone(),
                master: floats(master),
                first: floats(first),
                second: floats(second),
            };
            (path, state)
        });
        self.states = states.collect();
        Ok(())
    }
}

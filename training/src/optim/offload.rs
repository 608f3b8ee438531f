//! AdamW off the device: float32 masters and moments in the host's memory, the update on the processor's
//! threads, and only the weight in its compute type on the device (Ren et al. 2021, ZeRO-Offload). Of
//! several processes, each keeps and updates its part.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::{Shape, TensorData, TensorMetadata};
use glmtune_model::checkpoint::RawTensor;
use glmtune_model::host_weights::HostTensor;
use glmtune_model::{FloatType, GlmBackend};

use super::adamw::{FIRST, SECOND};
use super::ops::host_adamw;
use super::{
    AdamWSettings, Optimizer, ParameterUpdate, ReadState, StateTensor, Update, Weight,
    by_parameter, foreign,
};
use crate::error::Result;
use crate::gradients::Gradient;
use crate::parallel::processes::gathering::Gathering;
use crate::parallel::processes::ranks::{ProcessGroup, Ranks};
use crate::tensors::{narrow, widen};

/// AdamW with masters and moments in the host's memory.
#[derive(Debug)]
pub struct OffloadedAdamW {
    settings: AdamWSettings,
    /// The part of each parameter that this process updates.
    group: ProcessGroup,
    states: BTreeMap<String, HostState>,
}

/// What the host keeps of one parameter: this process's part.
#[derive(Debug)]
struct HostState {
    /// Shape of the whole parameter.
    shape: Vec<usize>,
    master: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl OffloadedAdamW {
    /// An optimizer that has seen no gradient yet.
    pub fn new(settings: AdamWSettings, group: ProcessGroup) -> Self {
        Self {
            settings,
            group,
            states: BTreeMap::new(),
        }
    }
}

impl HostState {
    /// The state of a weight that has not been updated yet.
    fn of<B: GlmBackend>(weight: Weight<B>, group: &ProcessGroup) -> Result<Self> {
        let (shape, values) = match weight {
            Weight::Device(weight) => (
                weight.shape().to_vec(),
                Gradient::<B>::Device(weight).into_host()?,
            ),
            Weight::Host(tensor) => (tensor.shape().to_vec(), widen(&tensor.data()?)?),
            Weight::Part(data, shape) => return Ok(Self::new(shape.to_vec(), widen(&data)?)),
        };
        Ok(Self::new(shape, group.part(values)))
    }

    fn new(shape: Vec<usize>, master: Vec<f32>) -> Self {
        Self {
            shape,
            first: vec![0.0; master.len()],
            second: vec![0.0; master.len()],
            master,
        }
    }
}

impl OffloadedAdamW {
    /// A tensor of which this process keeps a part.
    fn tensor<'a>(
        &'a self,
        name: String,
        state: &'a HostState,
        part: &'a [f32],
    ) -> StateTensor<'a> {
        StateTensor::new(name, state.shape.clone(), || {
            let values = self.group.whole(part, state.shape.iter().product())?;
            Ok(bytemuck::cast_slice(&values).to_vec())
        })
    }

    fn part(&self, raw: &RawTensor) -> Vec<f32> {
        self.group.part(bytemuck::pod_collect_to_vec(&raw.bytes))
    }
}

impl OffloadedAdamW {
    /// Updates what this process keeps of a parameter.
    fn step<B: GlmBackend>(
        &mut self,
        ParameterUpdate { path, weight, grad }: ParameterUpdate<B>,
        update: Update,
    ) -> Result<&HostState> {
        let mut state = match self.states.remove(&path) {
            Some(state) => state,
            None => HostState::of::<B>(weight, &self.group)?,
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
        Ok(self.states.entry(path).or_insert(state))
    }

    /// Updates this process's parts, one after the other, while those before them are gathered.
    fn update_parts<B: GlmBackend>(
        &mut self,
        parameters: Vec<ParameterUpdate<B>>,
        update: Update,
        ranks: &dyn Ranks,
    ) -> Result<Vec<Weight<B>>> {
        let mut gathering = Gathering::new(ranks);
        let mut weights = Updated::default();
        for parameter in parameters {
            let dtype = float_type(&parameter.weight)?;
            let is_part = matches!(parameter.weight, Weight::Part(..));
            let state = self.step(parameter, update)?;
            let shape = Shape::from(state.shape.clone());
            if is_part {
                let part = narrow(&state.master, [state.master.len()].into(), dtype);
                weights.known(Weight::Part(part, shape));
                continue;
            }
            gathering.add(&state.master, shape, dtype)?;
            weights.expect();
            gathering.come().for_each(|data| weights.put(data));
        }
        gathering.finish()?.for_each(|data| weights.put(data));
        Ok(weights.all.into_iter().flatten().collect())
    }
}

/// Updated weights in the order of their parameters, some of them on their way.
struct Updated<B: GlmBackend> {
    all: Vec<Option<Weight<B>>>,
    /// Those that are expected, in the order in which they come.
    expected: VecDeque<usize>,
}

impl<B: GlmBackend> Default for Updated<B> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            expected: VecDeque::new(),
        }
    }
}

impl<B: GlmBackend> Updated<B> {
    fn known(&mut self, weight: Weight<B>) {
        self.all.push(Some(weight));
    }

    fn expect(&mut self) {
        self.expected.push_back(self.all.len());
        self.all.push(None);
    }

    fn put(&mut self, data: TensorData) {
        if let Some(index) = self.expected.pop_front() {
            self.all[index] = Some(Weight::Host(HostTensor::new(data)));
        }
    }
}

fn float_type<B: GlmBackend>(weight: &Weight<B>) -> Result<FloatType> {
    let dtype = match weight {
        Weight::Device(weight) => weight.dtype(),
        Weight::Host(tensor) => tensor.dtype(),
        Weight::Part(data, _) => data.dtype,
    };
    Ok(FloatType::try_from(dtype)?)
}

impl<B: GlmBackend> Optimizer<B> for OffloadedAdamW {
    fn update(
        &mut self,
        parameters: Vec<ParameterUpdate<B>>,
        update: Update,
    ) -> Result<Vec<Weight<B>>> {
        let group = self.group.clone();
        if let Some(ranks) = group.ranks() {
            return self.update_parts(parameters, update, ranks);
        }
        let parameters = parameters.into_iter();
        let weights = parameters.map(|parameter| {
            let dtype = float_type(&parameter.weight)?;
            let state = self.step(parameter, update)?;
            let shape = Shape::from(state.shape.clone());
            let data = narrow(&state.master, shape, dtype);
            Ok(Weight::Host(HostTensor::new(data)))
        });
        weights.collect()
    }

    fn wants_host_gradients(&self) -> bool {
        true
    }

    fn on_another_device(&self) -> Option<Box<dyn Optimizer<B>>> {
        None
    }

    fn set_master(&mut self, path: &str, values: RawTensor) {
        let master = self.part(&values);
        let state = HostState::new(values.shape, master);
        self.states.insert(path.to_string(), state);
    }

    fn masters(&self) -> Vec<StateTensor<'_>> {
        let states = self.states.iter();
        states
            .map(|(path, state)| self.tensor(path.clone(), state, &state.master))
            .collect()
    }

    fn state(&self) -> Vec<StateTensor<'_>> {
        let states = self.states.iter();
        states
            .flat_map(|(path, state)| {
                [(FIRST, &state.first), (SECOND, &state.second)]
                    .map(|(quantity, part)| self.tensor(format!("{quantity}.{path}"), state, part))
            })
            .collect()
    }

    fn restore(&mut self, names: Vec<String>, read: ReadState<'_>, _: &B::Device) -> Result<()> {
        for (path, [first, second]) in by_parameter(names, [FIRST, SECOND])? {
            let (first, second) = (self.part(&read(&first)?), self.part(&read(&second)?));
            let state = self.states.get_mut(&path).ok_or_else(|| foreign(&path))?;
            (state.first, state.second) = (first, second);
        }
        Ok(())
    }
}

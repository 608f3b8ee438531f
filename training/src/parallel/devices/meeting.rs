//! Where the gradients of replicas meet, a round of segments at a time, while the backward passes go on.
//!
//! Who brings the last gradients of a round lets the devices sum it: on all of them or on none, and in the same order
//! everywhere, so that no device waits for one whose replica has failed. Sums are taken in the order of the replicas.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, TensorMetadata};
use glmtune_model::{FloatType, GlmBackend};

use super::ops::CollectiveOps;
use crate::error::{Error, Result};
use crate::gradients::{Gradient, Gradients, float, read_together};
use crate::tensors::narrow;

/// Bytes from which on gradients are worth a round: to begin a sum of fewer takes longer than to send them.
const ROUND: usize = 4 << 20;
/// Bytes that a row has at most if it has more than one tensor: it is memory beside the gradients.
const ROW: usize = 64 << 20;

/// The gradients of the last micro-batches of all replicas.
pub(super) struct Meeting<B: GlmBackend> {
    /// The devices, each once.
    devices: Vec<B::Device>,
    /// The device of each replica that has micro-batches, by its place above.
    replicas: Vec<usize>,
    /// The type that gradients are sent in.
    sent: FloatType,
    state: Mutex<State<B>>,
}

/// What the replicas have brought to a round.
type Round<B> = Vec<Option<Gradients<B>>>;

struct State<B: GlmBackend> {
    /// Rounds that some replicas have not reached, the oldest first.
    open: VecDeque<Round<B>>,
    /// Number of rounds before those.
    done: usize,
    /// The sums, where there is one device.
    sums: Gradients<B>,
    /// Rows of sums, where there are several.
    rows: Vec<Row<B>>,
}

/// Gradients that are summed together.
struct Row<B: GlmBackend> {
    paths: Vec<String>,
    shapes: Vec<Shape>,
    /// The row on each device.
    packed: Vec<FloatTensor<B>>,
}

/// A gradient's path, and the gradient itself on each device that has computed one.
type Met<B> = (String, Vec<Option<FloatTensor<B>>>);

impl<B: CollectiveOps> Meeting<B> {
    /// A meeting on these devices, each named once, of the replicas that have micro-batches, by the places of their
    /// devices.
    pub fn new(devices: Vec<B::Device>, replicas: Vec<usize>, sent: FloatType) -> Self {
        Self {
            devices,
            replicas,
            sent,
            state: Mutex::new(State {
                open: VecDeque::new(),
                done: 0,
                sums: Gradients::default(),
                rows: Vec::new(),
            }),
        }
    }

    /// The side of a replica.
    pub fn seat(&self, replica: usize) -> Seat<'_, B> {
        Seat {
            meeting: self,
            replica,
            round: 0,
            waiting: Gradients::default(),
            bytes: 0,
        }
    }

    /// Takes a replica's gradients of a round.
    fn bring(&self, replica: usize, round: usize, gradients: Gradients<B>) -> Result<()> {
        let mut state = self.lock();
        let place = round - state.done;
        while state.open.len() <= place {
            state
                .open
                .push_back(self.replicas.iter().map(|_| None).collect());
        }
        state.open[place][replica] = Some(gradients);
        // In the order of the rounds, and under the lock: all devices must begin the same sums one after the other.
        while state.open.front().is_some_and(is_complete) {
            let parts = state.open.pop_front().into_iter().flatten().flatten();
            state.done += 1;
            let parts = parts.collect();
            self.sum(&mut state, parts)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums the gradients of all replicas in a round.
    fn sum(&self, state: &mut State<B>, parts: Vec<Gradients<B>>) -> Result<()> {
        let mut on_devices: Vec<Option<Gradients<B>>> = self.devices.iter().map(|_| None).collect();
        for (&device, part) in self.replicas.iter().zip(parts) {
            match &mut on_devices[device] {
                Some(sum) => sum.add(part)?,
                none => *none = Some(part),
            }
        }
        if self.devices.len() == 1 {
            let sums = on_devices.into_iter().flatten();
            return sums.into_iter().try_for_each(|sum| state.sums.add(sum));
        }
        for group in groups::<B>(met(on_devices)?, self.sent) {
            let row = self.packed(group)?;
            state.rows.push(row);
        }
        Ok(())
    }

    /// A row of gradients on every device, on its way to be the sum of all.
    fn packed(&self, group: Vec<Met<B>>) -> Result<Row<B>> {
        let shapes = group.iter().filter_map(|(_, tensors)| {
            let first = tensors.iter().flatten().next();
            first.map(TensorMetadata::shape)
        });
        let shapes: Vec<Shape> = shapes.collect();
        let dtype: DType = self.sent.into();
        let mut by_device: Vec<Vec<FloatTensor<B>>> =
            self.devices.iter().map(|_| Vec::new()).collect();
        let mut paths = Vec::new();
        for (path, tensors) in group {
            paths.push(path);
            for (row, tensor) in by_device.iter_mut().zip(tensors) {
                row.extend(tensor);
            }
        }
        let rows = by_device
            .into_iter()
            .map(|tensors| (!tensors.is_empty()).then(|| B::glm_pack(tensors, dtype)));
        let rows: Vec<_> = rows.collect();
        let shape = rows.iter().flatten().next().map(TensorMetadata::shape);
        let shape = shape.unwrap_or_else(|| Shape::new([0]));
        let rows = rows.into_iter().zip(&self.devices).map(|(row, device)| {
            // A device without micro-batches adds nothing, and gets the sum.
            row.unwrap_or_else(|| B::float_zeros(shape.clone(), device, dtype.into()))
        });
        let packed = match B::glm_begin_sums(rows.collect()) {
            Ok(sums) => sums,
            Err(rows) => self.through_host(rows)?,
        };
        Ok(Row {
            paths,
            shapes,
            packed,
        })
    }

    /// Sums rows in the host's memory: each device is read once and written once.
    fn through_host(&self, rows: Vec<FloatTensor<B>>) -> Result<Vec<FloatTensor<B>>> {
        let rows = rows.into_iter().map(float::<B, 1>).collect();
        let mut read = read_together(rows)?.into_iter();
        let mut sum = read.next().unwrap_or_default();
        for other in read {
            add(&mut sum, &other);
        }
        let shape = Shape::new([sum.len()]);
        let devices = self.devices.iter();
        let sums = devices.map(|device| {
            let data = narrow(&sum, shape.clone(), self.sent);
            B::float_from_data(data, device)
        });
        Ok(sums.collect())
    }

    /// The sums of all rounds, on each device.
    ///
    /// # Errors
    /// If a replica has left before the last round.
    pub fn close(self) -> Result<Vec<Gradients<B>>> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if !state.open.is_empty() {
            return Err(unequal());
        }
        if self.devices.len() == 1 {
            return Ok(vec![state.sums]);
        }
        B::glm_await_sums(&self.devices);
        let mut sums: Vec<Gradients<B>> =
            self.devices.iter().map(|_| Gradients::default()).collect();
        for row in state.rows {
            for (sum, packed) in sums.iter_mut().zip(row.packed) {
                let tensors = B::glm_unpack(packed, &row.shapes);
                for (path, tensor) in row.paths.iter().zip(tensors) {
                    sum.insert(path.clone(), Gradient::Device(tensor));
                }
            }
        }
        Ok(sums)
    }
}

fn is_complete<B: GlmBackend>(round: &Round<B>) -> bool {
    round.iter().all(Option::is_some)
}

/// The gradients of each path side by side, in the order of the paths. A device without micro-batches has none.
fn met<B: GlmBackend>(on_devices: Vec<Option<Gradients<B>>>) -> Result<Vec<Met<B>>> {
    let devices = on_devices.into_iter();
    let mut devices: Vec<_> = devices
        .map(|gradients| gradients.map(|gradients| gradients.into_paths().into_iter()))
        .collect();
    let mut all = Vec::new();
    loop {
        let next = devices
            .iter_mut()
            .map(|device| device.as_mut().map(Iterator::next));
        let next: Vec<Option<Option<(String, Gradient<B>)>>> = next.collect();
        let Some(Some((path, _))) = next.iter().flatten().next() else {
            break;
        };
        let path = path.clone();
        let tensors = next.into_iter().map(|found| match found {
            None => Ok(None),
            Some(Some((other, Gradient::Device(tensor)))) if other == path => Ok(Some(tensor)),
            Some(_) => Err(unequal()),
        });
        let tensors = tensors.collect::<Result<_>>()?;
        all.push((path, tensors));
    }
    let left = devices
        .iter_mut()
        .flatten()
        .any(|device| device.next().is_some());
    match left {
        true => Err(unequal()),
        false => Ok(all),
    }
}

/// What shares a row.
fn groups<B: GlmBackend>(all: Vec<Met<B>>, sent: FloatType) -> Vec<Vec<Met<B>>> {
    let mut groups: Vec<Vec<Met<B>>> = Vec::new();
    let mut room = 0;
    for met in all {
        let bytes = met.1.iter().flatten().next();
        let bytes = bytes.map_or(0, |tensor| tensor.shape().num_elements() * sent.size());
        match groups.last_mut().filter(|_| bytes <= room) {
            Some(group) => group.push(met),
            None => {
                room = ROW.max(bytes);
                groups.push(vec![met]);
            }
        }
        room -= bytes;
    }
    groups
}

fn add(sum: &mut [f32], other: &[f32]) {
    use rayon::prelude::*;
    sum.par_iter_mut()
        .zip(other)
        .for_each(|(sum, other)| *sum += other);
}

/// All replicas walk the same segments of the same model.
fn unequal() -> Error {
    let what = "the replicas did not give the gradients of the same parameters";
    Error::Model(glmtune_model::Error::Compute(what.to_string()))
}

/// A replica's side of a meeting: what it hands over waits until it is worth a round.
pub(super) struct Seat<'a, B: GlmBackend> {
    meeting: &'a Meeting<B>,
    replica: usize,
    round: usize,
    waiting: Gradients<B>,
    bytes: usize,
}

impl<B: CollectiveOps> Seat<'_, B> {
    /// Takes gradients that no other micro-batch adds to.
    ///
    /// # Errors
    /// If a device cannot be read.
    pub fn take(&mut self, gradients: Gradients<B>) -> Result<()> {
        self.bytes += gradients.elements() * self.meeting.sent.size();
        self.waiting.add(gradients)?;
        match self.bytes >= ROUND {
            true => self.bring(),
            false => Ok(()),
        }
    }

    /// Hands over what still waits.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn leave(mut self) -> Result<()> {
        match self.bytes > 0 {
            true => self.bring(),
            false => Ok(()),
        }
    }

    fn bring(&mut self) -> Result<()> {
        let gradients = std::mem::take(&mut self.waiting);
        self.meeting.bring(self.replica, self.round, gradients)?;
        (self.round, self.bytes) = (self.round + 1, 0);
        Ok(())
    }
}

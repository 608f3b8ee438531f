//! Where the gradients of replicas meet, a round of segments at a time, while the backward passes go on.
//!
//! Who brings the last gradients of a round lets the devices sum it: on all of them or on none, and in the same order
//! everywhere, so that no device waits for one whose replica has failed. Sums are taken in the order of the replicas.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, TensorMetadata};
use glmtune_model::{FloatType, GlmBackend};

use crate::error::{Error, Result};
use crate::gradients::{Gradient, Gradients, float, read, read_together};
use crate::optim::ops::TrainingBackend;
use crate::tensors::narrow;
use crate::threads::{join, spawn};

/// Bytes from which on gradients are worth a round: to begin a sum of fewer takes longer than to send them.
const ROUND: usize = 4 << 20;
/// Bytes that a row has at most if it has more than one tensor: it is memory beside the gradients.
const ROW: usize = 64 << 20;
/// Elements that a device's part of a row is a multiple of, so that it begins where a tensor may.
const PART: usize = 1024;

/// The gradients of all replicas.
pub(super) struct Meeting<B: GlmBackend> {
    /// The devices, each once.
    devices: Vec<B::Device>,
    /// The device of each replica, by its place above.
    places: Vec<usize>,
    /// Micro-batches of each replica whose gradients meet. Those of the same number meet each other.
    turns: Vec<usize>,
    /// The type that gradients are sent in.
    sent: FloatType,
    /// Whether sums go to the host at once, each device bringing its part of them; else they stay on all devices.
    to_host: bool,
    state: Mutex<State<B>>,
}

struct State<B: GlmBackend> {
    /// By turn and round, what the replicas have brought.
    open: BTreeMap<(usize, usize), BTreeMap<usize, Gradients<B>>>,
    /// Turns that each replica has ended.
    ended: Vec<usize>,
    /// The turn and the round that are summed next.
    next: (usize, usize),
    /// The sums, where there is one place for them: the only device, or the host.
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

impl<B: TrainingBackend> Meeting<B> {
    /// A meeting on these devices, each named once, of replicas with the places of their devices and the numbers of
    /// their micro-batches whose gradients meet.
    pub fn new(
        devices: Vec<B::Device>,
        places: Vec<usize>,
        turns: Vec<usize>,
        sent: FloatType,
        to_host: bool,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                open: BTreeMap::new(),
                ended: vec![0; turns.len()],
                next: (0, 0),
                sums: Gradients::default(),
                rows: Vec::new(),
            }),
            devices,
            places,
            turns,
            sent,
            to_host,
        }
    }

    /// The side of a replica.
    pub fn seat(&self, replica: usize) -> Seat<'_, B> {
        Seat {
            meeting: self,
            replica,
            place: (0, 0),
            waiting: Gradients::default(),
            bytes: 0,
        }
    }

    /// Takes a replica's gradients of a turn and a round.
    fn bring(&self, replica: usize, place: (usize, usize), gradients: Gradients<B>) -> Result<()> {
        let mut state = self.lock();
        let round = state.open.entry(place).or_default();
        round.insert(replica, gradients);
        self.go_on(&mut state)
    }

    /// A replica has brought everything of its turn.
    fn end(&self, replica: usize) -> Result<()> {
        let mut state = self.lock();
        state.ended[replica] += 1;
        self.go_on(&mut state)
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums what all have brought: one round after the other, and under the lock, so that all devices begin the same
    /// sums in the same order.
    fn go_on(&self, state: &mut State<B>) -> Result<()> {
        loop {
            let (turn, round) = state.next;
            let present = |replica: &usize| self.turns[*replica] > turn;
            let expected = (0..self.turns.len()).filter(present);
            let expected: Vec<usize> = expected.collect();
            match state.open.get(&state.next).map(BTreeMap::len) {
                Some(brought) if brought == expected.len() => {
                    let parts = state.open.remove(&state.next).unwrap_or_default();
                    state.next = (turn, round + 1);
                    self.sum(state, parts)?;
                }
                None if !expected.is_empty()
                    && expected.iter().all(|&replica| state.ended[replica] > turn) =>
                {
                    state.next = (turn + 1, 0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Sums the gradients of all replicas in a round.
    fn sum(&self, state: &mut State<B>, parts: BTreeMap<usize, Gradients<B>>) -> Result<()> {
        let mut on_devices: Vec<Option<Gradients<B>>> = self.devices.iter().map(|_| None).collect();
        for (replica, part) in parts {
            match &mut on_devices[self.places[replica]] {
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
            match self.to_host {
                true => state.sums.add(self.read(row)?)?,
                false => state.rows.push(row),
            }
        }
        Ok(())
    }

    /// Sums of a row in the host's memory: each device brings a part of them, all at once.
    fn read(&self, row: Row<B>) -> Result<Gradients<B>> {
        B::glm_await_sums(&self.devices);
        let elements = row
            .packed
            .first()
            .map_or(0, |packed| packed.shape().num_elements());
        let part = elements.div_ceil(self.devices.len());
        let part = part.next_multiple_of(PART).max(1);
        let places = match row.packed.first() {
            Some(packed) => B::glm_places(packed, &row.shapes),
            None => Vec::new(),
        };
        let parts: Vec<Result<Vec<f32>>> = thread::scope(|scope| {
            let threads = row.packed.into_iter().enumerate().map(|(index, packed)| {
                let begin = (index * part).min(elements);
                let length = part.min(elements - begin);
                // A short row has no part for the last devices.
                let values = float::<B, 1>(packed);
                let part = (length > 0).then(|| values.narrow(0, begin, length));
                spawn(scope, move || part.map_or_else(|| Ok(Vec::new()), read))
            });
            // All are started before the first is waited for.
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(join).collect()
        });
        let values = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let mut sums = Gradients::default();
        for ((path, shape), begin) in row.paths.into_iter().zip(&row.shapes).zip(places) {
            let values = values[begin..begin + shape.num_elements()].to_vec();
            sums.insert(path, Gradient::Host(values));
        }
        Ok(sums)
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

    /// The sums of all rounds: on each device, or once in the host's memory.
    ///
    /// # Errors
    /// If a replica has left before the last round.
    pub fn close(self) -> Result<Vec<Gradients<B>>> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if !state.open.is_empty() {
            return Err(unequal());
        }
        if self.devices.len() == 1 || self.to_host {
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

/// A device's next gradient in the order of the paths, if there is one more.
type Next<B> = Option<(String, Gradient<B>)>;

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
        let next: Vec<Option<Next<B>>> = next.collect();
        let mut found = next.iter().flatten().flatten();
        let Some(path) = found.next().map(|(path, _)| path.clone()) else {
            return Ok(all);
        };
        let tensors = next.into_iter().map(|found| match found {
            None => Ok(None),
            Some(Some((other, Gradient::Device(tensor)))) if other == path => Ok(Some(tensor)),
            Some(_) => Err(unequal()),
        });
        let tensors = tensors.collect::<Result<_>>()?;
        all.push((path, tensors));
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
    /// Turn and round.
    place: (usize, usize),
    waiting: Gradients<B>,
    bytes: usize,
}

impl<B: TrainingBackend> Seat<'_, B> {
    /// Takes gradients that nothing is added to any more.
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

    /// Hands over what still waits, and goes on to the next micro-batch.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn end_turn(&mut self) -> Result<()> {
        if self.bytes > 0 {
            self.bring()?;
        }
        self.place = (self.place.0 + 1, 0);
        self.meeting.end(self.replica)
    }

    fn bring(&mut self) -> Result<()> {
        let gradients = std::mem::take(&mut self.waiting);
        self.meeting.bring(self.replica, self.place, gradients)?;
        (self.place.1, self.bytes) = (self.place.1 + 1, 0);
        Ok(())
    }
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Tensor, TensorData};
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    fn tensor(values: &[f32]) -> FloatTensor<Flex> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        let tensor = Tensor::<Flex, 1>::from_data(data, &FlexDevice);
        tensor.into_primitive().tensor()
    }

    fn gradient(value: f32) -> Gradients<Flex> {
        let mut gradients = Gradients::default();
        gradients.insert("w".to_string(), Gradient::Device(tensor(&[value])));
        gradients
    }

    fn meeting(turns: &[usize]) -> Meeting<Flex> {
        let places = vec![0; turns.len()];
        Meeting::new(
            vec![FlexDevice],
            places,
            turns.to_vec(),
            FloatType::F32,
            false,
        )
    }

    #[test]
    fn sums_do_not_depend_on_who_comes_first() {
        let meeting = meeting(&[2, 1]);
        let (mut first, mut second) = (meeting.seat(0), meeting.seat(1));
        // Only the two large ones together leave room for the small one.
        for value in [1e8, 1.0] {
            first.take(gradient(value)).unwrap();
            first.end_turn().unwrap();
        }
        second.take(gradient(-1e8)).unwrap();
        second.end_turn().unwrap();
        let sums = meeting.close().unwrap().remove(0).into_paths();
        let sum = sums["w"].clone().into_host().unwrap();
        assert_eq!(sum, [1.0]);
    }

    #[test]
    fn a_replica_that_stays_away_is_noticed() {
        let meeting = meeting(&[1, 1]);
        let mut seat = meeting.seat(0);
        seat.take(gradient(1.0)).unwrap();
        seat.end_turn().unwrap();
        assert!(meeting.close().is_err());
    }

    #[test]
    fn gradients_of_other_parameters_do_not_meet() {
        let mut other = Gradients::<Flex>::default();
        other.insert("v".to_string(), Gradient::Device(tensor(&[1.0])));
        assert!(met(vec![Some(gradient(1.0)), Some(other)]).is_err());
        assert!(met(vec![Some(gradient(1.0)), Some(Gradients::default())]).is_err());
        assert!(met(vec![Some(Gradients::default()), Some(gradient(1.0))]).is_err());
        let all = met(vec![Some(gradient(1.0)), None, Some(gradient(2.0))]).unwrap();
        assert_eq!((all.len(), all[0].0.as_str()), (1, "w"));
        let present: Vec<bool> = all[0].1.iter().map(Option::is_some).collect();
        assert_eq!(present, [true, false, true]);
    }

    #[test]
    fn a_row_is_small_or_one_tensor() {
        let elements = ROW / 4;
        let sizes = [elements / 2, elements / 2, 1, elements + 1, 3];
        let all = sizes
            .iter()
            .map(|&size| ("w".to_string(), vec![Some(tensor(&vec![0.0; size]))]));
        let groups = groups::<Flex>(all.collect(), FloatType::F32);
        let counts: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
    }
}

//! Gradients of several processes: each rank gets the sum of its part of every gradient.
//!
//! They leave in buckets of a few MB as soon as they exist, while the backward pass goes on. Every rank owns a part of
//! each parameter, gets the others' values of it in the type in which they travel, and adds them up in float32 in the
//! order of the ranks.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use burn::tensor::{Bytes, Shape};
use glmtune_model::segment::SegmentPaths;
use glmtune_model::{FloatType, GlmBackend, Segment};

use super::ranks::{Arrival, Lane, Ranks, part_len, sum_pieces};
use crate::error::Result;
use crate::gradients::{Gradient, Gradients};
use crate::tensors::narrow;

/// Bytes that leave together.
const BUCKET: usize = 4 << 20;
/// Buckets on their way at once, at most, where a rank can wait for the others.
const ON_THEIR_WAY: usize = 16;

/// The gradients of a window on their way to those who add them up.
pub(crate) struct Reduction<'a> {
    ranks: &'a dyn Ranks,
    /// The type in which they travel.
    dtype: FloatType,
    /// Bytes of a bucket.
    size: usize,
    /// Buckets on their way at once, at most.
    most: usize,
    /// All that is trained, in the order in which a backward pass that runs blocks again meets it.
    order: Vec<(String, usize)>,
    /// The parameter whose turn it is.
    next: usize,
    /// Gradients before their turn.
    early: BTreeMap<String, Vec<f32>>,
    bucket: Vec<Piece>,
    on_their_way: VecDeque<(Vec<Place>, Arrival)>,
    /// The sums of this rank's parts, in the order of the parameters.
    parts: Vec<Vec<f32>>,
    /// Parameters that had no gradient here.
    missing: Vec<String>,
}

/// A range of every rank's part of a parameter.
#[derive(Debug, Clone, Copy)]
struct Place {
    parameter: usize,
    start: usize,
    len: usize,
}

/// The values of a range, for all ranks.
#[derive(Debug)]
struct Piece {
    place: Place,
    /// Those of the whole parameter.
    values: Rc<Vec<f32>>,
}

impl Piece {
    /// What a rank is to get of it; zeros beyond the end.
    fn write(&self, rank: usize, part: usize, to: &mut Vec<f32>) {
        let Place { start, len, .. } = self.place;
        let begin = (rank * part + start).min(self.values.len());
        let end = (begin + len).min(self.values.len());
        to.extend_from_slice(&self.values[begin..end]);
        to.resize(to.len() + len - (end - begin), 0.0);
    }
}

impl<'a> Reduction<'a> {
    /// A window of parameters of the given numbers of elements, before its gradients.
    ///
    /// # Errors
    /// If no segment has one of the parameters.
    pub fn new(
        ranks: &'a dyn Ranks,
        dtype: FloatType,
        parameters: &BTreeMap<String, usize>,
        segments: &SegmentPaths,
    ) -> Result<Self> {
        let mut order = Vec::with_capacity(parameters.len());
        for (path, &elements) in parameters {
            order.push((turn(segments.of(path)?), path.clone(), elements));
        }
        order.sort();
        let order: Vec<(String, usize)> = order
            .into_iter()
            .map(|(_, path, elements)| (path, elements))
            .collect();
        Ok(Self {
            parts: order.iter().map(|_| Vec::new()).collect(),
            ranks,
            dtype: traveling(dtype),
            size: BUCKET,
            most: ON_THEIR_WAY,
            order,
            next: 0,
            early: BTreeMap::new(),
            bucket: Vec::new(),
            on_their_way: VecDeque::new(),
            missing: Vec::new(),
        })
    }

    /// Lets any number of buckets be on their way: a rank that waited in the middle of a pass would keep its parts of
    /// weights from the others, who could wait for them in the middle of theirs.
    pub fn never_wait(&mut self) {
        self.most = usize::MAX;
    }

    /// Takes gradients that are complete; those whose turn it is leave.
    ///
    /// # Errors
    /// If the device cannot be read, or the other ranks cannot be reached.
    pub fn take<B: GlmBackend>(&mut self, gradients: Gradients<B>) -> Result<()> {
        for (path, gradient) in gradients.into_host()?.into_paths() {
            self.early.insert(path, gradient.into_host()?);
        }
        while let Some((path, _)) = self.order.get(self.next) {
            let Some(values) = self.early.remove(path) else {
                return Ok(());
            };
            self.add(values)?;
        }
        Ok(())
    }

    /// This rank's part of the sums, when all have given theirs: zeros where one has none. With it come the
    /// parameters that had no gradient on this rank.
    ///
    /// # Errors
    /// If the other ranks cannot be reached.
    pub fn finish<B: GlmBackend>(mut self) -> Result<(Gradients<B>, Vec<String>)> {
        while let Some((path, _)) = self.order.get(self.next) {
            let values = self.early.remove(path);
            if values.is_none() {
                self.missing.push(path.clone());
            }
            self.add(values.unwrap_or_default())?;
        }
        self.send()?;
        self.receive(0)?;
        let mut gradients = Gradients::default();
        for ((path, _), part) in self.order.into_iter().zip(self.parts) {
            gradients.insert(path, Gradient::Host(part));
        }
        Ok((gradients, self.missing))
    }

    /// The gradient whose turn it is, cut where a bucket is full. All ranks cut alike.
    fn add(&mut self, values: Vec<f32>) -> Result<()> {
        let parameter = self.next;
        self.next += 1;
        let part = self.part(parameter);
        self.parts[parameter] = vec![0.0; part];
        let values = Rc::new(values);
        let mut start = 0;
        while start < part {
            let len = self.room().min(part - start);
            let place = Place {
                parameter,
                start,
                len,
            };
            self.bucket.push(Piece {
                place,
                values: Rc::clone(&values),
            });
            start += len;
            if self.room() == 0 {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Elements of a rank's part of a parameter.
    fn part(&self, parameter: usize) -> usize {
        part_len(self.order[parameter].1, self.ranks.size())
    }

    /// Elements of each rank that the bucket still takes.
    fn room(&self) -> usize {
        let most = (self.size / self.dtype.size() / self.ranks.size()).max(1);
        most - self
            .bucket
            .iter()
            .map(|piece| piece.place.len)
            .sum::<usize>()
    }

    /// The bucket leaves.
    fn send(&mut self) -> Result<()> {
        if self.bucket.is_empty() {
            return Ok(());
        }
        let pieces = std::mem::take(&mut self.bucket);
        let mut values = Vec::new();
        for rank in 0..self.ranks.size() {
            for piece in &pieces {
                piece.write(rank, self.part(piece.place.parameter), &mut values);
            }
        }
        let bytes: Bytes = narrow(&values, Shape::new([values.len()]), self.dtype).bytes;
        let arrival = self.ranks.exchange(Lane::Steps, bytes, self.dtype);
        let places = pieces.iter().map(|piece| piece.place).collect();
        self.on_their_way.push_back((places, arrival));
        self.receive(self.most)
    }

    /// Adds up what has come, and waits until no more than so many are on their way.
    fn receive(&mut self, most: usize) -> Result<()> {
        loop {
            self.advance()?;
            let Some((places, arrival)) = self.on_their_way.pop_front() else {
                return Ok(());
            };
            let arrived = match self.on_their_way.len() < most {
                true => arrival.ready()?,
                false => Ok(arrival.wait()?),
            };
            match arrived {
                Ok(bytes) => self.put(&places, &bytes),
                Err(arrival) => {
                    self.on_their_way.push_front((places, arrival));
                    return Ok(());
                }
            }
        }
    }

    /// Lets begin what follows on what has come, in the order in which it left.
    fn advance(&mut self) -> Result<()> {
        for (_, arrival) in &mut self.on_their_way {
            if !arrival.advance()? {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self, places: &[Place], bytes: &Bytes) {
        let dtype = self.ranks.arriving(self.dtype);
        let elements: usize = places.iter().map(|place| place.len).sum();
        let sums = sum_pieces(bytes, elements * dtype.size(), dtype);
        let mut rest = sums.as_slice();
        for place in places {
            let (own, others) = rest.split_at(place.len);
            self.parts[place.parameter][place.start..][..place.len].copy_from_slice(own);
            rest = others;
        }
    }
}

/// The type in which gradients of weights of a type travel. Sums of several micro-batches may be too large for f16.
pub(crate) fn traveling(dtype: FloatType) -> FloatType {
    match dtype {
        FloatType::Bf16 => FloatType::Bf16,
        FloatType::F16 | FloatType::F32 => FloatType::F32,
    }
}

/// When a segment's gradients come in a pass from the head down.
fn turn(segment: Segment) -> (usize, std::cmp::Reverse<usize>) {
    let (place, block) = match segment {
        Segment::Head => (0, 0),
        Segment::Block(block) => (1, block),
        Segment::Prefix => (2, 0),
        Segment::Embeddings => (3, 0),
    };
    (place, std::cmp::Reverse(block))
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::thread;

    use burn_flex::Flex;
    use glmtune_model::ModelConfig;
    use glmtune_model::causal_lm::segment_paths;
    use glmtune_model::presets::Preset;
    use glmtune_model::tokenizer::Mode;

    use super::*;
    use crate::parallel::processes::threads_as_ranks::ThreadRanks;

    fn parameters() -> BTreeMap<String, usize> {
        let of = |path: &str, elements| (format!("transformer.{path}.weight"), elements);
        BTreeMap::from([
            of("output_layer", 23),
            of("encoder.layers.0.mlp.dense_h_to_4h", 7),
            of("encoder.layers.1.mlp.dense_h_to_4h", 16),
            of("embedding.word_embeddings", 1),
        ])
    }

    /// What a rank has of an element, in a few bits, so that sums are exact in every type.
    fn value(rank: usize, parameter: usize, element: usize) -> f32 {
        ((3 * rank + 5 * parameter + element) % 8) as f32
    }

    fn gradients(rank: usize, parameters: &BTreeMap<String, usize>) -> Vec<Gradients<Flex>> {
        let segments = parameters.iter().enumerate();
        segments
            .map(|(index, (path, &elements))| {
                let values = (0..elements).map(|element| value(rank, index, element));
                let mut gradients = Gradients::default();
                gradients.insert(path.clone(), Gradient::Host(values.collect()));
                gradients
            })
            .collect()
    }

    /// Whatever the ranks' number, the size of buckets and the order in which gradients come, each rank gets its part
    /// of the sums; one that has no micro-batch adds nothing.
    #[test]
    fn every_rank_gets_its_part_of_the_sums() {
        let parameters = parameters();
        let config = Preset::Tiny.config(Mode::Glm2, 300);
        let config = serde_json::to_string(&config).unwrap();
        let config = ModelConfig::from_json(&config, Path::new("config.json")).unwrap();
        let segments = segment_paths(&config);
        for (size, bucket, dtype, idle) in [
            (2, 4, FloatType::F32, None),
            (3, 40, FloatType::Bf16, Some(1)),
            (4, 1 << 20, FloatType::F16, Some(0)),
            (5, 24, FloatType::F32, Some(4)),
        ] {
            let all = ThreadRanks::all(size);
            let found: Vec<_> = thread::scope(|scope| {
                let threads = all.iter().enumerate().map(|(rank, ranks)| {
                    let parameters = &parameters;
                    scope.spawn(move || {
                        let mut reduction =
                            Reduction::new(ranks, dtype, parameters, segments).unwrap();
                        reduction.size = bucket;
                        if Some(rank) != idle {
                            let mut own = gradients(rank, parameters);
                            own.rotate_left(rank % 4);
                            for gradients in own {
                                reduction.take(gradients).unwrap();
                            }
                        }
                        let (sums, missing) = reduction.finish::<Flex>().unwrap();
                        assert_eq!(missing.len(), if Some(rank) == idle { 4 } else { 0 });
                        (sums.into_paths(), ranks.bytes_sent())
                    })
                });
                let threads: Vec<_> = threads.collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            for (index, (path, &elements)) in parameters.iter().enumerate() {
                let sum = |element| {
                    let ranks = (0..size).filter(|&rank| Some(rank) != idle);
                    ranks.map(|rank| value(rank, index, element)).sum::<f32>()
                };
                let mut expected: Vec<f32> = (0..elements).map(sum).collect();
                let part = part_len(elements, size);
                expected.resize(part * size, 0.0);
                for (rank, (own, _)) in found.iter().enumerate() {
                    let own = own[path].clone().into_host().unwrap();
                    assert_eq!(own, expected[rank * part..][..part], "{path} of {rank}");
                }
            }
            let padded: usize = parameters.values().map(|&all| part_len(all, size)).sum();
            let bytes = padded * (size - 1) * traveling(dtype).size();
            assert!(found.iter().all(|(_, sent)| *sent == bytes as u64));
        }
    }

    /// A gradient leaves when it is complete and those that come before it in the pass have left.
    #[test]
    fn complete_gradients_leave_in_the_order_of_the_pass() {
        let parameters = parameters();
        let config = Preset::Tiny.config(Mode::Glm2, 300);
        let config = serde_json::to_string(&config).unwrap();
        let config = ModelConfig::from_json(&config, Path::new("config.json")).unwrap();
        let segments = segment_paths(&config);
        thread::scope(|scope| {
            for (rank, ranks) in ThreadRanks::all(2).into_iter().enumerate() {
                let parameters = &parameters;
                scope.spawn(move || {
                    let mut reduction =
                        Reduction::new(&ranks, FloatType::F32, parameters, segments).unwrap();
                    reduction.size = 8;
                    // By their paths: embeddings, block 0, block 1, head.
                    let mut own = gradients(rank, parameters);
                    let sent = [3, 1, 2, 0].map(|index| {
                        let gradients = std::mem::take(&mut own[index]);
                        reduction.take(gradients).unwrap();
                        ranks.bytes_sent() / 4
                    });
                    assert_eq!(sent, [12, 12, 12 + 8 + 4, 12 + 8 + 4 + 1]);
                    let (_, missing) = reduction.finish::<Flex>().unwrap();
                    assert!(missing.is_empty());
                });
            }
        });
    }
}

//! GPUs through CubeCL (wgpu and CUDA): the update of many parameters in one launch, in place, and the squares of
//! many gradients in one. A launch takes as many as the device lets a kernel have buffers.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;
use glmtune_model::layers::ops::cube::reduce::{cube_sum, lanes_sum};
use glmtune_model::layers::ops::cube::{empty, fused, own, rows, vector_size};

use super::coefficients::Coefficients;
use super::{AdamMoments, AdamParameter, AdamStep, TrainingBackend, default};

impl<R, F, I, BT> TrainingBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_squares(tensors: Vec<CubeTensor<R>>) -> CubeTensor<R> {
        match fused(&tensors.iter().collect::<Vec<_>>()) {
            true => squares(tensors),
            false => default::squares::<Self>(tensors),
        }
    }

    fn glm_adamw(
        parameters: Vec<(AdamParameter<Self>, CubeTensor<R>)>,
        step: &AdamStep,
    ) -> Vec<AdamParameter<Self>> {
        let suits = |(parameter, grad): &(AdamParameter<Self>, CubeTensor<R>)| {
            let AdamMoments { first, second } = &parameter.moments;
            let state = [&parameter.weight, first, second];
            state.iter().all(|tensor| tensor.dtype == DType::F32)
                && fused(&[state[0], state[1], state[2], grad])
        };
        match parameters.iter().all(suits) {
            true => adamw(parameters, step),
            false => default::adamw::<Self>(parameters, step),
        }
    }

    fn glm_memory_in_use(device: &Self::Device) -> Option<u64> {
        // Reserved, not only in use: what the pools hold, no other program has.
        let usage = R::client(device).memory_usage();
        usage.ok().map(|usage| usage.bytes_reserved)
    }
}

/// Units of a cube.
const UNITS: usize = 256;
/// Vectors of a unit.
const VECTORS: usize = 4;
/// Vectors of a cube.
const SHARE: usize = UNITS * VECTORS;
/// Most tensors, of each that a parameter has, in one launch: the kernel has code for each of them.
const GROUP: usize = 32;

/// What a launch has in common: elements that a unit reads at once, and the type of the gradients.
type Kind = (usize, DType);

/// What may share a launch, but for its number.
struct Alike<R: CubeRuntime, T> {
    device: R::Device,
    kind: Kind,
    /// How many fit into one launch.
    fit: usize,
    items: Vec<T>,
}

/// Tensors taken apart by what a launch must have in common, in groups of what fits into one launch that has so many
/// buffers for each.
fn groups<R: CubeRuntime, T>(
    items: Vec<T>,
    tensors: impl Fn(&T) -> Vec<&CubeTensor<R>>,
) -> Vec<(Kind, Vec<T>)> {
    let mut all: Vec<Alike<R, T>> = Vec::new();
    for item in items {
        let buffers = tensors(&item);
        let last = buffers[buffers.len() - 1];
        let (device, dtype) = (last.device.clone(), last.dtype);
        let width = last.shape().last().copied().unwrap_or(1);
        let kind = (vector_size(&buffers, width), dtype);
        let bindings = last.client.properties().hardware.max_bindings as usize;
        // One is left for sizes, or for what is summed.
        let fit = (bindings.saturating_sub(1) / buffers.len()).clamp(1, GROUP);
        let is_like = |alike: &&mut Alike<R, T>| alike.device == device && alike.kind == kind;
        match all.iter_mut().find(is_like) {
            Some(alike) => alike.items.push(item),
            None => all.push(Alike {
                device,
                kind,
                fit,
                items: vec![item],
            }),
        }
    }
    all.into_iter().flat_map(launches).collect()
}

/// What is alike, a launch at a time.
fn launches<R: CubeRuntime, T>(alike: Alike<R, T>) -> impl Iterator<Item = (Kind, Vec<T>)> {
    let mut items = alike.items.into_iter();
    std::iter::from_fn(move || {
        let group: Vec<T> = items.by_ref().take(alike.fit).collect();
        (!group.is_empty()).then_some((alike.kind, group))
    })
}

/// The sums of squares of the shares of all tensors.
fn squares<R: CubeRuntime>(tensors: Vec<CubeTensor<R>>) -> CubeTensor<R> {
    let of = |tensor: &CubeTensor<R>, vector: usize| shares(tensor, vector);
    let groups = groups(tensors, |tensor| vec![tensor]);
    let counts = groups.iter().map(|((vector, _), group)| {
        let shares = group.iter().map(|tensor| of(tensor, *vector));
        shares.sum::<usize>()
    });
    let counts: Vec<usize> = counts.collect();
    let first = &groups[0].1[0];
    let out = empty(first, Shape::new([counts.iter().sum()]), DType::F32);
    let mut offset = 0;
    for (((vector, dtype), group), count) in groups.into_iter().zip(counts) {
        let client = group[0].client.clone();
        let (cubes, dim) = rows(&client, count, UNITS);
        let views = group.into_iter().map(CubeTensor::into_linear_view);
        // SAFETY: no unit reads beyond the elements, and no cube writes but its share.
        unsafe {
            squares_kernel::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                views.collect(),
                out.clone().into_linear_view(),
                offset,
                dim.x as usize,
                dtype.into(),
            );
        }
        offset += count;
    }
    out
}

/// Cubes that work on a tensor.
fn shares<R: CubeRuntime>(tensor: &CubeTensor<R>, vector: usize) -> usize {
    (tensor.shape().num_elements() / vector).div_ceil(SHARE)
}

#[cube(launch_unchecked)]
fn squares_kernel<F: Float, N: Size>(
    tensors: &Sequence<LinearView<Vector<F, N>>>,
    out: &mut LinearView<f32, ReadWrite>,
    offset: usize,
    #[comptime] units: usize,
    #[define(F)] _dtype: StorageType,
) {
    let mut begin = 0usize.runtime();
    let mut sum = Vector::<f32, N>::new(f32::new(0.0));
    #[unroll]
    for index in 0..tensors.len() {
        let values = tensors[index];
        let end = begin + values.shape().div_ceil(SHARE);
        if CUBE_POS >= begin && CUBE_POS < end {
            let first = (CUBE_POS - begin) * SHARE;
            let last = min(first + SHARE, values.shape());
            let mut place = first + UNIT_POS as usize;
            while place < last {
                let value = Vector::<f32, N>::cast_from(values[place]);
                sum += value * value;
                place += units;
            }
        }
        begin = end;
    }
    let sum = cube_sum(lanes_sum::<N>(sum), units);
    if UNIT_POS == 0 && CUBE_POS < begin {
        out[offset + CUBE_POS] = sum;
    }
}

/// A parameter of an update, as the kernel changes it: weight and moments, and the gradient.
struct Row<R: CubeRuntime> {
    /// Which of the parameters it is.
    index: usize,
    state: [CubeTensor<R>; 3],
    grad: CubeTensor<R>,
}

/// The weights and their moments after an update: those that were given, unless somebody else holds them too.
fn adamw<B, R>(
    parameters: Vec<(AdamParameter<B>, CubeTensor<R>)>,
    step: &AdamStep,
) -> Vec<AdamParameter<B>>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let parameters = parameters.into_iter().enumerate();
    let rows: Vec<Row<R>> = parameters
        .map(|(index, (AdamParameter { weight, moments }, grad))| Row {
            index,
            state: [weight, moments.first, moments.second].map(own),
            grad,
        })
        .collect();
    let mut updated = BTreeMap::new();
    for (kind, group) in groups(rows, |row| row.state.iter().chain([&row.grad]).collect()) {
        launch_adamw(kind, &group, step);
        updated.extend(group.into_iter().map(|row| {
            let [weight, first, second] = row.state;
            let moments = AdamMoments { first, second };
            (row.index, AdamParameter { weight, moments })
        }));
    }
    updated.into_values().collect()
}

fn launch_adamw<R: CubeRuntime>((vector, dtype): Kind, group: &[Row<R>], step: &AdamStep) {
    let client = group[0].grad.client.clone();
    let count = group.iter().map(|row| shares(&row.grad, vector)).sum();
    let (cubes, dim) = rows(&client, count, UNITS);
    let state = |place: usize| {
        let tensors = group.iter().map(move |row| row.state[place].clone());
        tensors.map(CubeTensor::into_linear_view)
    };
    let grads = group.iter().map(|row| row.grad.clone().into_linear_view());
    let c = Coefficients::of(step);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        adamw_kernel::launch_unchecked(
            &client,
            cubes,
            dim,
            vector,
            state(0).collect(),
            state(1).collect(),
            state(2).collect(),
            grads.collect(),
            c.grad_scale,
            c.beta1,
            c.beta2,
            c.rate,
            c.root,
            c.epsilon,
            c.keep,
            dim.x as usize,
            dtype.into(),
        );
    }
}

#[cube(launch_unchecked)]
fn adamw_kernel<G: Float, N: Size>(
    weights: &mut Sequence<LinearView<Vector<f32, N>, ReadWrite>>,
    firsts: &mut Sequence<LinearView<Vector<f32, N>, ReadWrite>>,
    seconds: &mut Sequence<LinearView<Vector<f32, N>, ReadWrite>>,
    grads: &Sequence<LinearView<Vector<G, N>>>,
    grad_scale: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
    keep: f32,
    #[comptime] units: usize,
    #[define(G)] _dtype: StorageType,
) {
    let one = f32::new(1.0);
    let mut begin = 0usize.runtime();
    #[unroll]
    for index in 0..grads.len() {
        let grad = grads[index];
        let end = begin + grad.shape().div_ceil(SHARE);
        if CUBE_POS >= begin && CUBE_POS < end {
            let weight = weights.index_mut(index);
            let first = firsts.index_mut(index);
            let second = seconds.index_mut(index);
            let start = (CUBE_POS - begin) * SHARE;
            let last = min(start + SHARE, grad.shape());
            let mut place = start + UNIT_POS as usize;
            while place < last {
                let g = Vector::<f32, N>::cast_from(grad[place]) * Vector::new(grad_scale);
                let m = Vector::new(beta1) * first[place] + Vector::new(one - beta1) * g;
                let v = Vector::new(beta2) * second[place] + Vector::new(one - beta2) * g * g;
                let denominator = Vector::sqrt(v) * Vector::new(root) + Vector::new(epsilon);
                weight[place] =
                    weight[place] * Vector::new(keep) - Vector::new(rate) * m / denominator;
                first[place] = m;
                second[place] = v;
                place += units;
            }
        }
        begin = end;
    }
}

//! GPUs through CubeCL (wgpu and CUDA): rows of tensors in one launch, and NCCL between the devices of CUDA.
//!
//! NCCL sums on a stream of its own, so that the device goes on with the backward pass meanwhile.

use std::collections::BTreeMap;
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape, StreamId, Tensor, TensorMetadata, TensorPrimitive};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::client::ComputeClient;
use burn_cubecl::cubecl::device::{Device, DeviceId};
use burn_cubecl::cubecl::server::{ReduceOperation, ServerCommunication};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;
use glmtune_model::layers::ops::cube::{empty, fused, own, rows, vector_size};

use super::{CollectiveOps, Collectives, default};

/// Units of a cube.
const UNITS: usize = 256;
/// Vectors of a cube.
const SHARE: usize = UNITS * 4;
/// Most tensors in one launch: the kernel has code for each of them.
const GROUP: usize = 32;

impl<R, F, I, BT> CollectiveOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_collectives() -> Collectives {
        match (communicates::<R>(), has_nccl()) {
            (false, _) => Collectives::None,
            (true, true) => Collectives::There,
            (true, false) => Collectives::Missing("NCCL (libnccl.so)"),
        }
    }

    fn glm_pack(tensors: Vec<CubeTensor<R>>, dtype: DType) -> CubeTensor<R> {
        match tensors.as_slice() {
            [tensor] if is_row(tensor, dtype) => {
                let elements = tensor.shape().num_elements();
                Self::float_reshape(tensor.clone(), Shape::new([elements]))
            }
            _ if uses_kernels::<R>() => packed::<Self, R>(tensors, dtype),
            _ => default::pack::<Self>(tensors, dtype),
        }
    }

    fn glm_unpack(packed: CubeTensor<R>, shapes: &[Shape]) -> Vec<CubeTensor<R>> {
        if !uses_kernels::<R>() {
            return default::unpack::<Self>(packed, shapes);
        }
        let end = packed.handle.size_in_used();
        let size = packed.dtype.size();
        let places = places(&packed, shapes.iter());
        let tensors = shapes.iter().zip(places).map(|(shape, begin)| {
            let (begin, elements) = (begin * size, shape.num_elements() * size);
            let rest = end - (begin + elements) as u64;
            let handle = packed.handle.clone();
            let handle = handle.offset_start(begin as u64).offset_end(rest);
            let (client, device) = (packed.client.clone(), packed.device.clone());
            CubeTensor::new_contiguous(client, device, shape.clone(), handle, packed.dtype)
        });
        tensors.collect()
    }

    fn glm_places(packed: &CubeTensor<R>, shapes: &[Shape]) -> Vec<usize> {
        match uses_kernels::<R>() {
            true => places(packed, shapes.iter()),
            false => default::places(shapes),
        }
    }

    fn glm_join(parts: Vec<CubeTensor<R>>, shape: Shape, device: &Self::Device) -> CubeTensor<R> {
        let is_elsewhere = |part: &CubeTensor<R>| part.device != *device;
        match parts.iter().any(is_elsewhere) && Self::glm_collectives() == Collectives::There {
            true => joined::<Self, R>(parts, shape, device),
            false => default::join::<Self>(parts, shape, device),
        }
    }

    fn glm_begin_sums(
        packed: Vec<CubeTensor<R>>,
    ) -> Result<Vec<CubeTensor<R>>, Vec<CubeTensor<R>>> {
        if Self::glm_collectives() != Collectives::There {
            return Err(packed);
        }
        let mut devices: Vec<DeviceId> = packed.iter().map(|row| row.device.to_id()).collect();
        devices.sort();
        let _order = order();
        acquaint(packed.iter().map(|row| row.client.clone()), &devices);
        let sums = packed.into_iter().map(|row| {
            let sum = own(row);
            let (mut client, handle) = (sum.client.clone(), sum.handle.clone());
            let dtype = sum.dtype.into();
            let (from, to) = (handle.clone(), handle);
            client.all_reduce(from, to, dtype, devices.clone(), ReduceOperation::Sum);
            sum
        });
        let sums: Vec<CubeTensor<R>> = sums.collect();
        for sum in &sums {
            send_off(&sum.client, sum.device.to_id());
        }
        Ok(sums)
    }

    fn glm_await_sums(devices: &[Self::Device]) {
        if Self::glm_collectives() == Collectives::There {
            for device in devices {
                R::client(device).sync_collective();
            }
        }
    }
}

/// What is asked of NCCL is asked of all devices that take part before anything else is: each takes it up in the order in
/// which it was asked, and two that had it in different orders would wait for each other for ever.
fn order() -> MutexGuard<'static, ()> {
    static ORDER: Mutex<()> = Mutex::new(());
    ORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parts of a tensor on the device that asks for them.
///
/// Each part is summed with as much of a row of negative zeros, which change nothing. CubeCL 0.10 has sends and receives
/// too, but a receive takes memory that the device may still be computing with, since it does not wait for that; sums
/// do, and lie where they are wanted. They send the zeros the other way, at the same time.
fn joined<B, R>(parts: Vec<CubeTensor<R>>, shape: Shape, device: &R::Device) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>, Device = R::Device>,
    R: CubeRuntime,
{
    let (length, dtype) = (parts[0].shape().num_elements(), parts[0].dtype);
    let mut row = Tensor::<B, 1>::full([length * parts.len()], -0.0, (device, dtype));
    let begins = (0..parts.len()).map(|index| index * length);
    let parts: Vec<(usize, CubeTensor<R>)> = begins.zip(parts).collect();
    for (begin, part) in parts.iter().filter(|(_, part)| part.device == *device) {
        let own = Tensor::from_primitive(TensorPrimitive::Float(part.clone()));
        let place = *begin..*begin + length;
        row = row.slice_assign([place], own);
    }
    let row = own(row.into_primitive().tensor());
    let order = order();
    for (begin, part) in parts.iter().filter(|(_, part)| part.device != *device) {
        copy(part, &row, *begin);
    }
    drop(order);
    // Flushes, too.
    row.client.sync_collective();
    let (client, device) = (row.client.clone(), row.device.clone());
    let bytes = (shape.num_elements() * dtype.size()) as u64;
    let rest = row.handle.size_in_used() - bytes;
    CubeTensor::new_contiguous(client, device, shape, row.handle.offset_end(rest), dtype)
}

/// Copies a part to its place in a row of another device, beside what the part's device computes; the part is written
/// too, with what it is.
fn copy<R: CubeRuntime>(part: &CubeTensor<R>, row: &CubeTensor<R>, begin: usize) {
    let size = row.dtype.size() as u64;
    let (begin, length) = (
        begin as u64 * size,
        part.shape().num_elements() as u64 * size,
    );
    let end = row.handle.size_in_used();
    let place = row.handle.clone();
    let place = place.offset_start(begin).offset_end(end - begin - length);
    let mut devices = vec![part.device.to_id(), row.device.to_id()];
    devices.sort();
    let dtype = row.dtype.into();
    let from = part.handle.clone();
    let (mut lender, mut asker) = (part.client.clone(), row.client.clone());
    acquaint([lender.clone(), asker.clone()].into_iter(), &devices);
    idle_stream().executes(|| {
        lender.all_reduce(
            from.clone(),
            from,
            dtype,
            devices.clone(),
            ReduceOperation::Sum,
        );
    });
    asker.all_reduce(place.clone(), place, dtype, devices, ReduceOperation::Sum);
    send_off(&lender, part.device.to_id());
    send_off(&asker, row.device.to_id());
}

/// A stream on which nothing is computed.
fn idle_stream() -> StreamId {
    StreamId {
        value: StreamId::current().value ^ 1,
    }
}

/// Lets devices that have not met in NCCL yet meet: the thread of each waits for the others, and is asked nothing more
/// before all have been asked.
fn acquaint<R: CubeRuntime>(clients: impl Iterator<Item = ComputeClient<R>>, all: &[DeviceId]) {
    clients.for_each(|mut client| client.ensure_init_collective(all.to_vec()));
}

/// Lets the thread of a device begin a sum now. What it is asked waits until there is more of it, and the threads of the
/// other devices would wait for it in NCCL meanwhile: for ever, if they keep who asks from asking for more.
///
/// CubeCL 0.10 sends off alone what waits for sums, and lets who asks wait where a device has been asked for much: since
/// that may be the device that waits for the others, a thread of its own sends off each one's.
fn send_off<R: CubeRuntime>(client: &ComputeClient<R>, device: DeviceId) {
    static COURIERS: Mutex<BTreeMap<DeviceId, Sender<Errand>>> = Mutex::new(BTreeMap::new());
    let (client, idle) = (client.clone(), idle_stream());
    let errand: Errand = Box::new(move || idle.executes(|| client.sync_collective()));
    let mut couriers = COURIERS.lock().unwrap_or_else(PoisonError::into_inner);
    let courier = couriers.entry(device).or_insert_with(courier);
    if let Err(SendError(errand)) = courier.send(errand) {
        // It broke down, and the device with it.
        errand();
    }
}

/// What a courier is to do.
type Errand = Box<dyn FnOnce() + Send>;

/// A thread that runs errands, one after the other.
fn courier() -> Sender<Errand> {
    let (sender, errands) = channel::<Errand>();
    thread::spawn(move || errands.into_iter().for_each(|errand| errand()));
    sender
}

/// Whether CubeCL has a way between devices of a runtime.
const fn communicates<R: CubeRuntime>() -> bool {
    <R::CubeServer as ServerCommunication>::SERVER_COMM_ENABLED
}

/// Whether NCCL is installed: CubeCL panics where it is not.
#[cfg(feature = "cuda")]
fn has_nccl() -> bool {
    use std::sync::LazyLock;
    // SAFETY: only looks for the library by its names.
    static FOUND: LazyLock<bool> =
        LazyLock::new(|| unsafe { cudarc::nccl::sys::is_culib_present() });
    *FOUND
}

#[cfg(not(feature = "cuda"))]
fn has_nccl() -> bool {
    false
}

/// Whether the elements of a tensor are a row of a type as they are.
fn is_row<R: CubeRuntime>(tensor: &CubeTensor<R>, dtype: DType) -> bool {
    let bytes = (tensor.shape().num_elements() * dtype.size()) as u64;
    tensor.dtype == dtype && tensor.is_contiguous() && tensor.handle.size_in_used() == bytes
}

/// Whether GPUs compute with kernels of ours.
fn uses_kernels<R: CubeRuntime>() -> bool {
    fused::<R>(&[])
}

/// Where tensors begin in a row, and its end, in elements: each begins where a handle of its own may.
fn places<'a, R: CubeRuntime>(
    like: &CubeTensor<R>,
    shapes: impl Iterator<Item = &'a Shape>,
) -> Vec<usize> {
    // The smallest type of an element has two bytes.
    let aligned = (like.client.properties().memory.alignment as usize / 2).max(1);
    let mut places = vec![0];
    let mut end = 0;
    for shape in shapes {
        end += shape.num_elements().next_multiple_of(aligned);
        places.push(end);
    }
    places
}

fn packed<B, R>(tensors: Vec<CubeTensor<R>>, dtype: DType) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let shapes: Vec<Shape> = tensors.iter().map(TensorMetadata::shape).collect();
    let places = places(&tensors[0], shapes.iter());
    let elements = places[tensors.len()];
    let out = empty(&tensors[0], Shape::new([elements]), dtype);
    // Burn's operations make contiguous float32, which kernels of ours read, of whatever they do not.
    let tensors = tensors.into_iter().map(|tensor| match fused(&[&tensor]) {
        true => tensor,
        false => B::float_cast(tensor, FloatDType::F32),
    });
    let mut items: Vec<(CubeTensor<R>, usize)> = tensors.zip(places).collect();
    while !items.is_empty() {
        let first = kind(&items[0].0, &out);
        let is_like = |item: &(CubeTensor<R>, usize)| kind(&item.0, &out) == first;
        let (like, others): (Vec<_>, Vec<_>) = items.into_iter().partition(is_like);
        for group in like.chunks(GROUP) {
            launch(group, &out, first.1);
        }
        items = others;
    }
    out
}

/// What tensors of one launch have in common: their type, and how many elements a unit reads at once.
fn kind<R: CubeRuntime>(tensor: &CubeTensor<R>, out: &CubeTensor<R>) -> (DType, usize) {
    let width = tensor.shape().last().copied().unwrap_or(1);
    (tensor.dtype, vector_size(&[tensor, out], width))
}

fn launch<R: CubeRuntime>(group: &[(CubeTensor<R>, usize)], out: &CubeTensor<R>, vector: usize) {
    let client = out.client.clone();
    let shares = |tensor: &CubeTensor<R>| (tensor.shape().num_elements() / vector).div_ceil(SHARE);
    let count = group.iter().map(|(tensor, _)| shares(tensor)).sum();
    let (cubes, dim) = rows(&client, count, UNITS);
    let from = group
        .iter()
        .map(|(tensor, _)| tensor.clone().into_linear_view());
    let to = group.iter().map(|(_, place)| *place / vector);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        pack_kernel::launch_unchecked(
            &client,
            cubes,
            dim,
            vector,
            from.collect(),
            to.collect(),
            out.clone().into_linear_view(),
            dim.x as usize,
            group[0].0.dtype.into(),
            out.dtype.into(),
        );
    }
}

#[cube(launch_unchecked)]
fn pack_kernel<F: Float, G: Float, N: Size>(
    tensors: &Sequence<LinearView<Vector<F, N>>>,
    places: Sequence<usize>,
    out: &mut LinearView<Vector<G, N>, ReadWrite>,
    #[comptime] units: usize,
    #[define(F)] _from: StorageType,
    #[define(G)] _to: StorageType,
) {
    let mut begin = 0usize.runtime();
    #[unroll]
    for index in 0..tensors.len() {
        let values = tensors[index];
        let offset = places[index];
        let end = begin + values.shape().div_ceil(SHARE);
        if CUBE_POS >= begin && CUBE_POS < end {
            let first = (CUBE_POS - begin) * SHARE;
            let last = min(first + SHARE, values.shape());
            let mut place = first + UNIT_POS as usize;
            while place < last {
                out[offset + place] = Vector::<G, N>::cast_from(values[place]);
                place += units;
            }
        }
        begin = end;
    }
}

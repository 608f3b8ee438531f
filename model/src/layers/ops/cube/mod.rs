//! GPUs through CubeCL (wgpu and CUDA): what kernels share, and the operations that are the default there.
//!
//! A kernel stands in the folder of its operation, in a file `cube.rs`; it computes in float32 whatever the type
//! of its tensors, reads them by whatever strides they have, and writes a contiguous tensor. It has no atomics,
//! so that its results are the same every time. An operation without one has its name in the list below.

mod kernels;
pub mod reduce;

pub use kernels::keep_kernels;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::cubecl::client::ComputeClient;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim, VectorSize};
use burn_cubecl::cubecl::server::CubeCountSelection;
use burn_cubecl::cubecl::{calculate_cube_count_elemwise, tensor_vector_size_parallel};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::cache::CacheOps;
use super::parts::PartsOps;
use super::residual::ResidualOps;
use super::threads::ThreadsOps;

macro_rules! default_on_gpus {
    ($($operation:ident),* $(,)?) => {
        $(
            impl<R, F, I, BT> $operation for CubeBackend<R, F, I, BT>
            where
                R: CubeRuntime,
                F: FloatElement,
                I: IntElement,
                BT: BoolElement,
            {
            }
        )*
    };
}

default_on_gpus!(CacheOps, PartsOps, ResidualOps, ThreadsOps);

/// Whether kernels are used. The operations are functions of a backend's type and of tensors, which carry no
/// settings of ours, so that a switch for all of them can only be the process's own; a program sets it once,
/// before its first operation.
static FUSED: AtomicBool = AtomicBool::new(true);

/// Lets GPUs compute with this crate's kernels (as they do from the start) or with Burn's operations alone:
/// where a result is doubted, the other way tells whether a kernel is at fault.
pub fn set_fused(fused: bool) {
    FUSED.store(fused, Ordering::Relaxed);
}

/// Whether a kernel computes on these tensors: kernels are switched on, and there is something to compute, in
/// float32, f16 or bf16, whose elements 32 bits count.
pub fn fused<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> bool {
    let suits = |tensor: &&CubeTensor<R>| {
        let count = tensor.handle.size() / tensor.dtype.size() as u64;
        let float = matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16);
        float && tensor.shape().num_elements() > 0 && count <= u64::from(u32::MAX)
    };
    FUSED.load(Ordering::Relaxed) && tensors.iter().all(suits)
}

/// Largest number of elements that a unit can read from each tensor at once, along the last axis; `width` is a
/// multiple of it.
pub fn vector_size<R: CubeRuntime>(tensors: &[&CubeTensor<R>], width: usize) -> VectorSize {
    let sizes = tensors.iter().map(|tensor| {
        let candidates = tensor.client.io_optimized_vector_sizes(tensor.dtype.size());
        let candidates = candidates.filter(|size| width.is_multiple_of(*size));
        let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
        tensor_vector_size_parallel(candidates, shape, strides, shape.num_dims() - 1)
    });
    sizes.min().unwrap_or(1)
}

/// Cubes of a kernel in which every unit computes on its own. More units than `count` may be started.
pub fn units<R: CubeRuntime>(client: &ComputeClient<R>, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, count);
    (calculate_cube_count_elemwise(client, count, dim), dim)
}

/// Most units of a cube that works on a row.
const ROW_UNITS: u32 = 256;

/// Cubes of a kernel in which each works on a row of `width` vectors, and the units of a cube, a power of two.
/// More cubes than `rows` may be started.
pub fn rows<R: CubeRuntime>(
    client: &ComputeClient<R>,
    rows: usize,
    width: usize,
) -> (CubeCount, CubeDim) {
    let most = ROW_UNITS.min(client.properties().hardware.max_units_per_cube);
    let wanted = u32::try_from(width.next_power_of_two()).unwrap_or(most);
    let count = CubeCountSelection::new(client, rows as u32).cube_count();
    (count, CubeDim::new_1d(wanted.min(most)))
}

/// Memory for a result beside `like`, contiguous, not yet written.
pub fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape, dtype: DType) -> CubeTensor<R> {
    let handle = like.client.empty(shape.num_elements() * dtype.size());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape, handle, dtype)
}

/// `tensor`, to be written in place: itself if nobody else holds it, else a copy.
pub fn own<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    match tensor.can_mut() && tensor.is_nonoverlapping() {
        true => tensor,
        false => tensor.copy(),
    }
}

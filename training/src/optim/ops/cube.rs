//! GPUs through CubeCL (wgpu and CUDA): the defaults for now; fused kernels belong here.

use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::TrainingBackend;

impl<R, F, I, BT> TrainingBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_memory_in_use(device: &Self::Device) -> Option<u64> {
        // Reserved, not only in use: what the pools hold, no other program has.
        let usage = R::client(device).memory_usage();
        usage.ok().map(|usage| usage.bytes_reserved)
    }
}

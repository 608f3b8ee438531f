//! GPUs through CubeCL (wgpu and CUDA): the defaults for now; fused kernels belong here.

use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::GlmBackend;

impl<R, F, I, BT> GlmBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
}

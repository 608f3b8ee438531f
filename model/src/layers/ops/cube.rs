//! GPUs through CubeCL (wgpu and CUDA): the operations that are the default there. One with a kernel has a
//! `cube.rs` in its folder in place of its line here.

use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::activation::ActivationOps;
use super::attention::AttentionOps;
use super::cache::CacheOps;
use super::dropout::DropoutOps;
use super::head_loss::HeadLossOps;
use super::linear::LinearOps;
use super::norm::NormOps;
use super::rotary::RotaryOps;

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

default_on_gpus!(
    ActivationOps,
    AttentionOps,
    CacheOps,
    DropoutOps,
    HeadLossOps,
    LinearOps,
    NormOps,
    RotaryOps,
);

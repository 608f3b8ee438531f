//! Attention by tiles on GPUs: scores live in the registers and the shared memory of a cube, and tiles of keys that
//! no query of the tile sees are not read.

mod backward;
mod core_backward;
mod core_forward;
mod forward;
mod fragments;
mod heads;
mod launch;
mod tile;

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use self::launch::Launch;
use super::{AttentionInput, AttentionOps, AttentionOutput, default};

impl<R, F, I, BT> AttentionOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_attention(input: AttentionInput<Self>) -> AttentionOutput<Self> {
        let launch = Launch::of(&input, &[]);
        let launch = launch.and_then(|launch| Some((launch.tile(forward::bytes)?, launch)));
        let Some((tile, launch)) = launch else {
            return default::attention::<Self>(input);
        };
        let operands = [input.query, input.key, input.value];
        let (output, log_sum_exp) = forward::forward(&launch, tile, operands);
        AttentionOutput {
            output,
            log_sum_exp,
        }
    }

    fn glm_attention_backward(
        input: AttentionInput<Self>,
        output: AttentionOutput<Self>,
        grad: CubeTensor<R>,
    ) -> (CubeTensor<R>, CubeTensor<R>, CubeTensor<R>) {
        let launch = Launch::of(&input, &[&output.output, &grad]);
        let launch = launch.and_then(|launch| Some((launch.tile(backward::bytes)?, launch)));
        let Some((tile, launch)) = launch else {
            return default::attention_backward::<Self>(input, output, grad);
        };
        let operands = [input.query, input.key, input.value];
        let results = [output.output, output.log_sum_exp, grad];
        backward::backward(&launch, tile, operands, results)
    }
}

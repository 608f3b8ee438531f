//! LoRA's thin products on GPUs: one launch each, which masks, widens and scales what it reads and adds where the
//! result belongs.

mod contract;
mod factor;
mod low;
mod outer;
mod spread;

use burn::tensor::backend::Backend;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::{LoraForward, LoraGradients, LoraKept, LoraLayer, LoraOps, default};
use crate::layers::ops::cube::{fused, own};
use crate::layers::ops::linear::LinearOps;
use contract::contract;
use factor::{Factor, UNITS};
use outer::outer;
use spread::spread;

impl<R, F, I, BT> LoraOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_lora(layer: LoraLayer<Self>) -> LoraForward<Self> {
        match suits(&[&layer.x, &layer.weight, &layer.a, &layer.b]) {
            true => forward(layer),
            false => default::lora::<Self>(layer),
        }
    }

    fn glm_lora_backward(kept: LoraKept<Self>, grad: CubeTensor<R>) -> LoraGradients<Self> {
        match suits(&[&grad, &kept.a, &kept.b]) {
            true => backward(kept, grad),
            false => default::lora_backward::<Self>(kept, grad),
        }
    }
}

fn suits<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> bool {
    let hardware = &tensors[0].client.properties().hardware;
    fused(tensors) && hardware.max_units_per_cube as usize >= UNITS
}

fn forward<B, R>(layer: LoraLayer<B>) -> LoraForward<B>
where
    B: LinearOps + Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let scale = layer.scaling as f32;
    let low = contract(layer.x.clone(), Factor::a(layer.a), scale, layer.dropout);
    let output = own(B::glm_linear(layer.x, layer.weight, None));
    spread(&output, low.clone(), Factor::b(layer.b), layer.bias, None);
    LoraForward { output, low }
}

fn backward<B, R>(kept: LoraKept<B>, grad: CubeTensor<R>) -> LoraGradients<B>
where
    B: LinearOps + Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    let scale = kept.scaling as f32;
    let [a, b] = [Factor::a(kept.a), Factor::b(kept.b)];
    let grad_b = kept.low.map(|low| outer(grad.clone(), low, &b, None));
    // Of `drop(x)·Aᵀ`.
    let grad_low =
        (kept.x.is_some() || kept.weight.is_some()).then(|| contract(grad.clone(), b, scale, None));
    let grad_a = kept
        .x
        .zip(grad_low.clone())
        .map(|(x, grad_low)| outer(x, grad_low, &a, kept.dropout));
    let grad_x = kept.weight.zip(grad_low).map(|(weight, grad_low)| {
        let grad_x = own(B::glm_linear_backward_input(grad, weight));
        spread(&grad_x, grad_low, a, None, kept.dropout);
        grad_x
    });
    LoraGradients {
        x: grad_x,
        a: grad_a,
        b: grad_b,
    }
}

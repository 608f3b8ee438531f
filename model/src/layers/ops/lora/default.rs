//! LoRA of the operations of linear layers and of dropout.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorMetadata};

use super::operands::{LoraForward, LoraGradients, LoraKept, LoraLayer};
use crate::layers::ops::dropout::{Dropout, DropoutOps};
use crate::layers::ops::linear::LinearOps;
use crate::layers::ops::primitive::{to_type, unwrap, wrap};
use crate::layers::ops::residual::ResidualOps;

/// See [`LoraOps::glm_lora`](super::LoraOps::glm_lora).
pub fn lora<B: LinearOps + DropoutOps + ResidualOps>(layer: LoraLayer<B>) -> LoraForward<B> {
    let dtype = layer.x.dtype();
    let [a, b] = [layer.a, layer.b].map(|factor| typed::<B>(factor, dtype));
    let low = B::glm_linear(dropped::<B>(layer.x.clone(), layer.dropout), a, None);
    let low = scaled::<B>(low, layer.scaling);
    let base = B::glm_linear(layer.x, layer.weight, layer.bias);
    let delta = B::glm_linear(low.clone(), b, None);
    LoraForward {
        output: B::glm_residual_sum(base, delta),
        low,
    }
}

/// See [`LoraOps::glm_lora_backward`](super::LoraOps::glm_lora_backward).
pub fn lora_backward<B: LinearOps + DropoutOps + ResidualOps>(
    kept: LoraKept<B>,
    grad: FloatTensor<B>,
) -> LoraGradients<B> {
    let (dtype, dropout) = (grad.dtype(), kept.dropout);
    let types = [kept.a.dtype(), kept.b.dtype()];
    let [a, b] = [kept.a, kept.b].map(|factor| typed::<B>(factor, dtype));
    let grad_b = kept
        .low
        .map(|low| B::glm_linear_backward_weight(grad.clone(), low));
    // Of `drop(x)·Aᵀ`.
    let grad_low = (kept.x.is_some() || kept.weight.is_some())
        .then(|| scaled::<B>(B::glm_linear_backward_input(grad.clone(), b), kept.scaling));
    let grad_a = kept.x.zip(grad_low.clone()).map(|(x, grad_low)| {
        let x = dropped::<B>(x, dropout);
        B::glm_linear_backward_weight(grad_low, x)
    });
    let grad_x = kept.weight.zip(grad_low).map(|(weight, grad_low)| {
        let base = B::glm_linear_backward_input(grad, weight);
        let delta = B::glm_linear_backward_input(grad_low, a);
        B::glm_residual_sum(base, dropped::<B>(delta, dropout))
    });
    LoraGradients {
        x: grad_x,
        a: grad_a.map(|grad| typed::<B>(grad, types[0])),
        b: grad_b.map(|grad| typed::<B>(grad, types[1])),
    }
}

fn typed<B: LinearOps + DropoutOps + ResidualOps>(
    x: FloatTensor<B>,
    dtype: DType,
) -> FloatTensor<B> {
    unwrap(to_type(wrap::<B, 2>(x), dtype))
}

fn scaled<B: LinearOps + DropoutOps + ResidualOps>(
    x: FloatTensor<B>,
    scaling: f64,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(x).mul_scalar(scaling))
}

fn dropped<B: LinearOps + DropoutOps + ResidualOps>(
    x: FloatTensor<B>,
    dropout: Option<Dropout>,
) -> FloatTensor<B> {
    match dropout {
        Some(dropout) => B::glm_dropout(x, dropout),
        None => x,
    }
}

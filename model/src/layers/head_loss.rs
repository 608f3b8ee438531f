//! Output layer and loss in one.

use burn::tensor::{Int, Tensor};

use super::ops::GlmBackend;
use super::ops::head_loss::{HeadAdapter, HeadGradients};
use super::ops::primitive::{to_type, unwrap, wrap};

/// The mean cross entropy of `targets` under `hidden · weightᵀ`, plus `low · upᵀ` where there is an adapter
/// `(low, up)`; the logits of all rows never exist at once.
///
/// `scale` multiplies the gradients, but not the loss, before they are rounded to the type of the hidden states.
///
/// # Shapes
/// - `hidden`: `[rows, width]`, `weight`: `[vocabulary, width]`, `targets`: `[rows]`
/// - `low`: `[rows, rank]`, `up`: `[vocabulary, rank]`
/// - result: `[1]`, float32
pub fn head_loss<B: GlmBackend>(
    hidden: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    adapter: Option<(Tensor<B, 2>, Tensor<B, 2>)>,
    targets: Tensor<B, 1, Int>,
    scale: f64,
) -> Tensor<B, 1> {
    let dtype = hidden.dtype();
    let weight = unwrap(to_type(weight, dtype));
    let adapter = adapter.map(|(low, up)| HeadAdapter {
        low: unwrap(low),
        up: unwrap(to_type(up, dtype)),
    });
    // For a backend without autodiff: nothing is to be differentiated.
    let wanted = HeadGradients {
        hidden: false,
        weight: false,
        adapter: false,
        scale,
    };
    let targets = targets.into_primitive();
    wrap(B::glm_head_loss(unwrap(hidden), weight, adapter, targets, wanted).loss)
}

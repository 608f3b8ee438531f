//! Layers that both architectures share: projections, norms, rotary embedding, masks, attention and
//! the key/value cache. Nothing here keeps state between calls: positions, masks, prefixes and caches
//! are arguments.

pub mod activation;
pub mod attention;
pub mod dropout;
pub mod embedding;
pub mod head_loss;
pub mod kv_cache;
pub mod linear;
pub mod lora;
pub mod mask;
pub mod memory;
pub mod norm;
pub mod ops;
pub mod parts;
pub mod projection;
pub mod residual;
pub mod rotary;

pub use activation::{gelu_tanh, swiglu};
pub use attention::attention;
pub use dropout::{DropoutSite, DropoutSource, dropout};
pub use embedding::Embedding;
pub use head_loss::head_loss;
pub(crate) use kv_cache::write as write_keys;
pub use kv_cache::{KvCache, LayerCache, LayerStore};
pub use linear::{Linear, linear};
pub use lora::{LoraFactors, lora};
pub use mask::{AttentionMask, MaskSpec};
pub use norm::{LayerNorm, RmsNorm};
pub use ops::GlmBackend;
pub use ops::attention::AttentionScale;
pub use ops::dropout::Dropout;
pub use ops::heads::HeadCut;
pub(crate) use ops::primitive::to_type;
pub use ops::rotary::RotaryPairs;
pub use parts::parts;
pub use projection::{LinearContext, Projection};
pub use residual::residual_sum;
pub use rotary::RotaryTable;

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape, Tensor};

/// A parameter whose values come later, from a file or an initialisation: until then it costs no
/// memory. Reading it before that gives zeros.
pub(crate) fn uninitialized<B: Backend, const D: usize>(
    shape: [usize; D],
    dtype: DType,
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    let shape = Shape::new(shape);
    let init_shape = shape.clone();
    Param::uninitialized(
        burn::module::ParamId::new(),
        move |device, require_grad| {
            let tensor = Tensor::zeros(init_shape.clone(), (device, dtype));
            match require_grad {
                true => tensor.require_grad(),
                false => tensor,
            }
        },
        device.clone(),
        false,
        shape,
    )
}

//! The leaf operations: the few that decide speed and memory, behind an extension of Burn's `Backend`.
//!
//! An operation is one folder. Its `mod.rs` has its trait, whose methods have a default made of Burn's own
//! operations (`default.rs`), and `operands.rs` the types that they take; `autodiff.rs` has the hand-written
//! backward pass; a backend with a fused kernel has a file of its name (`flex.rs` for the CPU, `cube.rs` for
//! GPUs); `memory.rs` declares what a call holds and what the backward pass keeps, from its shapes and type, and
//! `tests/memory/operations.rs` holds that against an allocator. [`GlmBackend`] is all of them together. Model files call the functions of [`crate::layers`], which read the same whichever backend
//! is behind.
//!
//! Whatever the type of the tensors, norms, softmax and activations are computed in float32 and the
//! result is rounded to the input's type.

pub mod activation;
pub mod attention;
mod autodiff;
pub mod cache;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub mod cube;
pub mod dropout;
#[cfg(feature = "flex")]
pub mod flex;
pub mod head_loss;
pub mod heads;
pub mod linear;
pub mod lora;
pub mod norm;
pub mod parts;
pub(crate) mod primitive;
pub mod residual;
pub mod rotary;
pub mod threads;

use burn::tensor::backend::Backend;

use activation::ActivationOps;
use attention::AttentionOps;
use cache::CacheOps;
use dropout::DropoutOps;
use head_loss::HeadLossOps;
use heads::HeadsOps;
use linear::LinearOps;
use lora::LoraOps;
use norm::NormOps;
use parts::PartsOps;
use residual::ResidualOps;
use rotary::RotaryOps;
use threads::ThreadsOps;

/// Burn's backend, extended by the leaf operations of the ChatGLM family. A backend that implements each of
/// them is one.
pub trait GlmBackend:
    Backend
    + LinearOps
    + LoraOps
    + NormOps
    + PartsOps
    + ResidualOps
    + RotaryOps
    + ActivationOps
    + AttentionOps
    + CacheOps
    + HeadLossOps
    + HeadsOps
    + DropoutOps
    + ThreadsOps
{
}

impl<B> GlmBackend for B where
    B: LinearOps
        + LoraOps
        + NormOps
        + PartsOps
        + ResidualOps
        + RotaryOps
        + ActivationOps
        + AttentionOps
        + CacheOps
        + HeadLossOps
        + HeadsOps
        + DropoutOps
        + ThreadsOps
{
}

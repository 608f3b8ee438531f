//! The leaf operations: the few that decide speed and memory, behind one extension of Burn's
//! `Backend`.
//!
//! Every method has a default made of Burn's own operations ([`default`]), [`autodiff`] gives each a
//! hand-written backward pass, and a backend may replace any of them by a fused kernel (`flex` does).
//! Model files call the functions of [`crate::layers`], which read the same whichever is behind.
//!
//! Whatever the type of the tensors, norms, softmax and activations are computed in float32 and the
//! result is rounded to the input's type.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
mod host_adamw;

pub use host_adamw::host_adamw;

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Tensor, TensorPrimitive};

use super::dropout::Dropout;
use super::mask::AttentionMask;
use super::rotary::{Direction, RotaryPairs};

/// What [`GlmBackend::glm_attention`] returns.
#[derive(Debug, Clone)]
pub struct AttentionOutput<B: Backend> {
    /// Context, `[batch, queries, heads, head_dim]`, in the type of the queries.
    pub output: FloatTensor<B>,
    /// Logarithm of the sum of the exponentiated scores, `[batch, heads, queries]`, float32: with it
    /// the backward pass recomputes the probabilities instead of keeping them.
    pub log_sum_exp: FloatTensor<B>,
}

/// The operands of one attention, as the forward pass saw them.
#[derive(Debug, Clone)]
pub struct AttentionInput<B: Backend> {
    /// Queries, `[batch, queries, heads, head_dim]`.
    pub query: FloatTensor<B>,
    /// Keys, `[batch, keys, groups, head_dim]`; group `g` serves heads `g·heads/groups …`.
    pub key: FloatTensor<B>,
    /// Values, `[batch, keys, groups, head_dim]`.
    pub value: FloatTensor<B>,
    /// Which keys each query sees.
    pub mask: AttentionMask<B>,
    /// Scale of the scores.
    pub scale: AttentionScale,
}

/// Which gradients [`GlmBackend::glm_head_loss`] is to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadGradients {
    /// Of the hidden states.
    pub hidden: bool,
    /// Of the output layer's weight.
    pub weight: bool,
    /// Of both factors of its adapter, where there is one.
    pub adapter: bool,
    /// What they are multiplied with in float32, before they are rounded.
    pub scale: f64,
}

/// What LoRA adds to the logits: `low · upᵀ`.
#[derive(Debug, Clone)]
pub struct HeadAdapter<B: Backend> {
    /// The hidden states times the first factor, scaled: `[rows, rank]`.
    pub low: FloatTensor<B>,
    /// The second factor: `[vocabulary, rank]`.
    pub up: FloatTensor<B>,
}

/// Largest factor of the gradient of logits in half precision, whose elements without it are at most 1.
const MAX_LOGIT_FACTOR: f64 = 32768.0;

/// How the gradients of a mean over some rows are scaled on their way from the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HeadFactors {
    /// Of `softmax - one_hot(target)`, before it is rounded.
    pub logits: f64,
    /// Of the gradients of hidden states and weight: what would take that of the logits out of range.
    pub rest: f64,
}

impl HeadFactors {
    /// The factors for a mean over `rows` rows and a scale, computed in `dtype`.
    pub fn of(rows: usize, scale: f64, dtype: DType) -> Self {
        let total = scale / rows.max(1) as f64;
        let logits = match dtype {
            DType::F16 => total.min(MAX_LOGIT_FACTOR),
            _ => total,
        };
        Self {
            logits,
            rest: total / logits,
        }
    }
}

/// What [`GlmBackend::glm_head_loss`] returns.
#[derive(Debug, Clone)]
pub struct HeadLoss<B: Backend> {
    /// Mean negative log-likelihood of the targets, `[1]`, float32.
    pub loss: FloatTensor<B>,
    /// Its scaled gradient for the hidden states, `[rows, width]`, in their type.
    pub grad_hidden: Option<FloatTensor<B>>,
    /// Its scaled gradient for the weight, `[vocabulary, width]`, in its type.
    pub grad_weight: Option<FloatTensor<B>>,
    /// Its scaled gradients for the adapter, in the type of its factors.
    pub grad_adapter: Option<HeadAdapter<B>>,
}

/// The running means of AdamW for one parameter, float32, of its shape.
#[derive(Debug, Clone)]
pub struct AdamMoments<B: Backend> {
    /// Of the gradient (`exp_avg`).
    pub first: FloatTensor<B>,
    /// Of its square (`exp_avg_sq`).
    pub second: FloatTensor<B>,
}

/// The numbers of one AdamW update (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of the update, from 1.
    pub step: i32,
    /// What the gradient is multiplied with first: averaging and clipping in one.
    pub grad_scale: f64,
}

impl AdamStep {
    /// `1 - beta1^step` and `1 - beta2^step`.
    pub fn bias_corrections(&self) -> [f64; 2] {
        [self.beta1, self.beta2].map(|beta| 1.0 - beta.powi(self.step))
    }
}

/// How scores are scaled: `post · mask(pre · q·kᵀ)`.
///
/// ChatGLM-6B divides by the layer's number before the product, which keeps half precision in range,
/// and multiplies it back in float32 before the softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionScale {
    /// Applied to the queries before the product.
    pub pre: f64,
    /// Applied to the scores in float32.
    pub post: f64,
}

impl AttentionScale {
    /// `1/sqrt(head_dim)`, with `layer_coefficient` divided out before and multiplied back after.
    pub fn new(head_dim: usize, layer_coefficient: f64) -> Self {
        Self {
            pre: 1.0 / ((head_dim as f64).sqrt() * layer_coefficient),
            post: layer_coefficient,
        }
    }

    /// Both factors together.
    pub fn total(&self) -> f64 {
        self.pre * self.post
    }
}

/// Burn's backend, extended by the leaf operations of the ChatGLM family.
pub trait GlmBackend: Backend {
    /// `x · weightᵀ + bias`.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`, `weight`: `[out, in]` (as in the published files), `bias`: `[out]`,
    ///   all of one type
    /// - result: `[rows, out]`
    fn glm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        default::linear::<Self>(x, weight, bias)
    }

    /// Gradient of [`glm_linear`](Self::glm_linear) with respect to `x`: `grad · weight`.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`, `weight`: `[out, in]`
    /// - result: `[rows, in]`
    fn glm_linear_backward_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        default::linear_backward_input::<Self>(grad, weight)
    }

    /// `x / sqrt(mean(x²) + epsilon) · weight` over the last axis (Zhang and Sennrich 2019).
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`, `weight`: `[width]`
    fn glm_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        default::rms_norm::<Self>(x, weight, epsilon)
    }

    /// Gradients of [`glm_rms_norm`](Self::glm_rms_norm): of `x`, then of `weight`.
    fn glm_rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        default::rms_norm_backward::<Self>(x, weight, epsilon, grad)
    }

    /// `(x - mean) / sqrt(variance + epsilon) · weight + bias` over the last axis (Ba et al. 2016).
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`, `weight` and `bias`: `[width]`
    fn glm_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        default::layer_norm::<Self>(x, weight, bias, epsilon)
    }

    /// Gradients of [`glm_layer_norm`](Self::glm_layer_norm): of `x`, `weight` and `bias`.
    fn glm_layer_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        default::layer_norm_backward::<Self>(x, weight, epsilon, grad)
    }

    /// Rotates pairs of each head by the angles of a table; the backward pass is the rotation in the
    /// other direction (Su et al. 2021).
    ///
    /// # Shapes
    /// - `x` and result: `[batch, tokens, heads, head_dim]`
    /// - `cos`, `sin`: `[batch or 1, tokens, pairs]`, float32
    fn glm_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> FloatTensor<Self> {
        default::rotary::<Self>(x, cos, sin, pairs, direction)
    }

    /// `silu(gate) · up` of a fused projection `[gate | up]` (Shazeer 2020).
    ///
    /// # Shapes
    /// - `x`: `[rows, 2·width]`, result: `[rows, width]`
    fn glm_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::swiglu::<Self>(x)
    }

    /// Gradient of [`glm_swiglu`](Self::glm_swiglu), `[rows, 2·width]`.
    fn glm_swiglu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        default::swiglu_backward::<Self>(x, grad)
    }

    /// GELU by the tanh formula (Hendrycks and Gimpel 2016), element by element.
    ///
    /// # Shapes
    /// - `x` and result: `[rows, width]`
    fn glm_gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::gelu_tanh::<Self>(x)
    }

    /// Gradient of [`glm_gelu_tanh`](Self::glm_gelu_tanh).
    fn glm_gelu_tanh_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        default::gelu_tanh_backward::<Self>(x, grad)
    }

    /// Softmax attention with grouped key/value heads.
    fn glm_attention(input: AttentionInput<Self>) -> AttentionOutput<Self> {
        default::attention::<Self>(input)
    }

    /// Gradients of [`glm_attention`](Self::glm_attention): of queries, keys and values.
    fn glm_attention_backward(
        input: AttentionInput<Self>,
        output: AttentionOutput<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        default::attention_backward::<Self>(input, output, grad)
    }

    /// Output layer and loss in one: the mean cross entropy of the targets, and its gradients on the way.
    /// The logits exist for a few rows at a time ([`head_rows`]), never for all. Under autodiff, who is
    /// tracked decides over the gradients; the scale holds there too: it acts on gradients alone.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, width]`, `weight`: `[vocabulary, width]`, of one type, as the adapter's factors are;
    ///   `targets`: `[rows]`
    fn glm_head_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        adapter: Option<HeadAdapter<Self>>,
        targets: IntTensor<Self>,
        wanted: HeadGradients,
    ) -> HeadLoss<Self> {
        default::head_loss::<Self>(hidden, weight, adapter, targets, wanted)
    }

    /// Zeroes elements by a mask that [`Dropout`] determines and scales the others; the backward pass
    /// is the same operation on the gradient (Srivastava et al. 2014).
    fn glm_dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        default::dropout::<Self>(x, dropout)
    }

    /// Sum of the squares of all elements, `[1]`, float32.
    fn glm_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        default::sum_of_squares::<Self>(x)
    }

    /// Bytes of a device's memory that are in use; `None` where it is the process's own.
    fn glm_memory_in_use(_device: &Self::Device) -> Option<u64> {
        None
    }

    /// One update of AdamW: the weight (float32) and the moments after it.
    fn glm_adamw(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moments: AdamMoments<Self>,
        step: &AdamStep,
    ) -> (FloatTensor<Self>, AdamMoments<Self>) {
        default::adamw::<Self>(weight, grad, moments, step)
    }
}

/// Rows of logits that exist at once for a vocabulary: 64 MiB of float32, and no fewer than 16.
pub fn head_rows(vocabulary: usize) -> usize {
    ((1 << 24) / vocabulary.max(1)).max(16)
}

/// A tensor around a float primitive.
pub(crate) fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The float primitive of a tensor.
pub(crate) fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

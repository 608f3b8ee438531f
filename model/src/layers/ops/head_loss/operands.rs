//! What the output layer and its loss are given, and what they return.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

/// Which gradients [`HeadLossOps::glm_head_loss`](super::HeadLossOps::glm_head_loss) is to compute.
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

/// What an adapter of low rank adds to the logits: `low · upᵀ`.
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

/// What [`HeadLossOps::glm_head_loss`](super::HeadLossOps::glm_head_loss) returns.
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

/// Rows of logits that exist at once for a vocabulary: 64 MiB of float32, and no fewer than 16.
pub fn head_rows(vocabulary: usize) -> usize {
    ((1 << 24) / vocabulary.max(1)).max(16)
}

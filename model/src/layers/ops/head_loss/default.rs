//! Output layer and loss of Burn's operations, a few rows of logits at a time.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

use super::operands::{HeadAdapter, HeadFactors, HeadGradients, HeadLoss, head_rows};
use crate::layers::ops::primitive::{from_f32, to_f32, unwrap, wrap};

/// The losses of some rows divided by the number of all and summed, and the gradient of their plain sum for the
/// logits times a factor, in their type.
pub(super) struct ChunkLoss<B: Backend> {
    pub(super) loss: Tensor<B, 1>,
    pub(super) grad: Tensor<B, 2>,
}

/// How losses are made of logits.
pub(super) trait RowLosses<B: Backend> {
    /// # Shapes
    /// - `logits`: `[rows here, vocabulary]`, `targets`: `[rows here]`
    fn row_losses(
        logits: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        rows: usize,
        factor: f64,
    ) -> ChunkLoss<B>;
}

/// Losses of Burn's operations.
struct Operations;

impl<B: Backend> RowLosses<B> for Operations {
    fn row_losses(
        logits: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        rows: usize,
        factor: f64,
    ) -> ChunkLoss<B> {
        let (dtype, target) = (logits.dtype(), targets.unsqueeze_dim::<2>(1));
        let (loss, grad) = row_losses(logits, target, rows);
        let grad = grad.mul_scalar(factor).cast(dtype);
        ChunkLoss { loss, grad }
    }
}

/// See [`HeadLossOps::glm_head_loss`](super::HeadLossOps::glm_head_loss).
pub fn head_loss<B: Backend>(
    hidden: FloatTensor<B>,
    weight: FloatTensor<B>,
    adapter: Option<HeadAdapter<B>>,
    targets: IntTensor<B>,
    wanted: HeadGradients,
) -> HeadLoss<B> {
    head_loss_by::<B, Operations>(hidden, weight, adapter, targets, wanted)
}

/// [`head_loss`] with another way from logits to losses.
pub(super) fn head_loss_by<B: Backend, L: RowLosses<B>>(
    hidden: FloatTensor<B>,
    weight: FloatTensor<B>,
    adapter: Option<HeadAdapter<B>>,
    targets: IntTensor<B>,
    wanted: HeadGradients,
) -> HeadLoss<B> {
    let targets = Tensor::<B, 1, Int>::from_primitive(targets);
    let mut base = HeadTerm::<B>::new(hidden, weight, wanted.hidden, wanted.weight);
    let mut adapter = adapter
        .map(|adapter| HeadTerm::new(adapter.low, adapter.up, wanted.adapter, wanted.adapter));
    let ([rows, _], [vocabulary, _]) = (base.x.dims(), base.weight.dims());
    let chunk = head_rows(vocabulary);
    let (dtype, device) = (base.x.dtype(), base.x.device());
    let factors = HeadFactors::of(rows, wanted.scale, dtype);
    let mut loss: Option<Tensor<B, 1>> = None;
    for start in (0..rows).step_by(chunk) {
        let rows_here = start..rows.min(start + chunk);
        let targets = targets.clone().slice([rows_here.clone()]);
        let logits = match &adapter {
            Some(adapter) => base.logits(&rows_here) + adapter.logits(&rows_here),
            None => base.logits(&rows_here),
        };
        let chunk = L::row_losses(logits, targets, rows, factors.logits);
        loss = Some(match loss {
            Some(loss) => loss + chunk.loss,
            None => chunk.loss,
        });
        for term in std::iter::once(&mut base).chain(&mut adapter) {
            term.add(&chunk.grad, &rows_here);
        }
    }
    let (grad_hidden, grad_weight) = base.finish(factors.rest);
    HeadLoss {
        loss: unwrap(loss.unwrap_or_else(|| Tensor::zeros([1], &device))),
        grad_hidden,
        grad_weight,
        grad_adapter: adapter.and_then(|adapter| match adapter.finish(factors.rest) {
            (Some(low), Some(up)) => Some(HeadAdapter { low, up }),
            _ => None,
        }),
    }
}

/// See [`HeadLossOps::glm_head_loss_backward`](super::HeadLossOps::glm_head_loss_backward).
pub fn backward<B: Backend>(own: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (own, dtype) = to_f32::<B, 2>(own);
    let grad = wrap::<B, 1>(grad).unsqueeze::<2>();
    from_f32(own * grad, dtype)
}

/// A product `x · weightᵀ` that adds to the logits, and the gradients of its factors, chunk by chunk.
struct HeadTerm<B: Backend> {
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    wants_x: bool,
    wants_weight: bool,
    grad_x: Vec<Tensor<B, 2>>,
    grad_weight: Option<Tensor<B, 2>>,
}

impl<B: Backend> HeadTerm<B> {
    fn new(x: FloatTensor<B>, weight: FloatTensor<B>, wants_x: bool, wants_weight: bool) -> Self {
        Self {
            x: wrap(x),
            weight: wrap(weight),
            wants_x,
            wants_weight,
            grad_x: Vec::new(),
            grad_weight: None,
        }
    }

    fn rows(&self, rows: &Range<usize>) -> Tensor<B, 2> {
        self.x.clone().narrow(0, rows.start, rows.len())
    }

    fn logits(&self, rows: &Range<usize>) -> Tensor<B, 2> {
        self.rows(rows).matmul(self.weight.clone().transpose())
    }

    /// Takes the gradient of the logits of some rows.
    fn add(&mut self, grad: &Tensor<B, 2>, rows: &Range<usize>) {
        if self.wants_x {
            self.grad_x.push(grad.clone().matmul(self.weight.clone()));
        }
        if self.wants_weight {
            let grad = grad.clone().transpose().matmul(self.rows(rows));
            self.grad_weight = Some(match self.grad_weight.take() {
                Some(sum) => sum + grad,
                None => grad,
            });
        }
    }

    fn finish(self, factor: f64) -> (Option<FloatTensor<B>>, Option<FloatTensor<B>>) {
        let grad_x = self.wants_x.then(|| Tensor::cat(self.grad_x, 0));
        (
            grad_x.map(|grad| scaled::<B>(grad, factor)),
            self.grad_weight.map(|grad| scaled::<B>(grad, factor)),
        )
    }
}

/// A gradient times a factor, computed in float32.
fn scaled<B: Backend>(grad: Tensor<B, 2>, factor: f64) -> FloatTensor<B> {
    if factor == 1.0 {
        return unwrap(grad);
    }
    let (grad, dtype) = to_f32::<B, 2>(unwrap(grad));
    from_f32(grad.mul_scalar(factor), dtype)
}

/// The losses of a few rows of logits divided by `rows` and summed, and the gradient of their plain sum for the
/// logits.
fn row_losses<B: Backend>(
    logits: Tensor<B, 2>,
    target: Tensor<B, 2, Int>,
    rows: usize,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let logits = logits.cast(DType::F32);
    let logits = logits.clone() - logits.max_dim(1);
    let log_sum_exp = logits.clone().exp().sum_dim(1).log();
    let log_probabilities = logits - log_sum_exp;
    let share = 1.0 / rows as f64;
    let picked = log_probabilities.clone().gather(1, target.clone());
    let hit = Tensor::full(target.dims(), -1.0, (&target.device(), DType::F32));
    let grad = log_probabilities
        .exp()
        .scatter(1, target, hit, IndexingUpdateOp::Add);
    (picked.sum().mul_scalar(-share), grad)
}

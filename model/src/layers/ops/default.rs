//! Leaf operations made of Burn's own: right on every backend, fast on none.

use std::ops::Range;

use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, IndexingUpdateOp, Int, Shape, Tensor, TensorData, TensorMetadata};

use super::{
    AdamMoments, AdamStep, AttentionInput, AttentionOutput, HeadAdapter, HeadFactors,
    HeadGradients, HeadLoss, head_rows, unwrap, wrap,
};
use crate::layers::dropout::Dropout;
use crate::layers::rotary::{Direction, RotaryPairs};

/// Scores of at most this many elements exist at once (256 MiB in float32).
const MAX_SCORES: usize = 1 << 26;

/// sqrt(2/π), of the tanh formula of GELU.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of the tanh formula of GELU.
const GELU_CUBIC: f64 = 0.044_715;

/// A primitive as a float32 tensor, beside its own type.
fn to_f32<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> (Tensor<B, D>, DType) {
    let dtype = primitive.dtype();
    let tensor = wrap::<B, D>(primitive);
    match dtype {
        DType::F32 => (tensor, dtype),
        _ => (tensor.cast(DType::F32), dtype),
    }
}

/// A float32 tensor as a primitive of another type.
fn from_f32<B: Backend, const D: usize>(tensor: Tensor<B, D>, dtype: DType) -> FloatTensor<B> {
    match dtype {
        DType::F32 => unwrap(tensor),
        _ => unwrap(tensor.cast(dtype)),
    }
}

/// See [`GlmBackend::glm_linear`](super::GlmBackend::glm_linear).
pub fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let output = wrap::<B, 2>(x).matmul(wrap::<B, 2>(weight).transpose());
    match bias {
        Some(bias) => unwrap(output + wrap::<B, 1>(bias).unsqueeze::<2>()),
        None => unwrap(output),
    }
}

/// See [`GlmBackend::glm_linear_backward_input`](super::GlmBackend::glm_linear_backward_input).
pub fn linear_backward_input<B: Backend>(
    grad: FloatTensor<B>,
    weight: FloatTensor<B>,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).matmul(wrap::<B, 2>(weight)))
}

/// `1 / sqrt(mean(x²) + epsilon)` per row.
fn inverse_rms<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    (x.clone() * x)
        .mean_dim(1)
        .add_scalar(epsilon)
        .sqrt()
        .recip()
}

/// See [`GlmBackend::glm_rms_norm`](super::GlmBackend::glm_rms_norm).
pub fn rms_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (weight, _) = to_f32::<B, 1>(weight);
    let normalized = x.clone() * inverse_rms(x, epsilon);
    from_f32(normalized * weight.unsqueeze::<2>(), dtype)
}

/// See [`GlmBackend::glm_rms_norm_backward`](super::GlmBackend::glm_rms_norm_backward).
pub fn rms_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x, x_dtype) = to_f32::<B, 2>(x);
    let (weight, weight_dtype) = to_f32::<B, 1>(weight);
    let (grad, _) = to_f32::<B, 2>(grad);

    let inverse = inverse_rms(x.clone(), epsilon);
    let normalized = x * inverse.clone();
    let grad_weight = (grad.clone() * normalized.clone())
        .sum_dim(0)
        .squeeze_dim::<1>(0);
    let scaled = grad * weight.unsqueeze::<2>();
    let along = (scaled.clone() * normalized.clone()).mean_dim(1);
    let grad_x = (scaled - normalized * along) * inverse;
    (
        from_f32(grad_x, x_dtype),
        from_f32(grad_weight, weight_dtype),
    )
}

/// The standardised rows and the inverse of their standard deviations.
fn standardize<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centered = x.clone() - x.mean_dim(1);
    let inverse = inverse_rms(centered.clone(), epsilon);
    (centered * inverse.clone(), inverse)
}

/// See [`GlmBackend::glm_layer_norm`](super::GlmBackend::glm_layer_norm).
pub fn layer_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (weight, _) = to_f32::<B, 1>(weight);
    let (bias, _) = to_f32::<B, 1>(bias);
    let (normalized, _) = standardize(x, epsilon);
    from_f32(
        normalized * weight.unsqueeze::<2>() + bias.unsqueeze::<2>(),
        dtype,
    )
}

/// See [`GlmBackend::glm_layer_norm_backward`](super::GlmBackend::glm_layer_norm_backward).
pub fn layer_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (x, x_dtype) = to_f32::<B, 2>(x);
    let (weight, weight_dtype) = to_f32::<B, 1>(weight);
    let (grad, _) = to_f32::<B, 2>(grad);

    let (normalized, inverse) = standardize(x, epsilon);
    let grad_bias = grad.clone().sum_dim(0).squeeze_dim::<1>(0);
    let grad_weight = (grad.clone() * normalized.clone())
        .sum_dim(0)
        .squeeze_dim::<1>(0);
    let scaled = grad * weight.unsqueeze::<2>();
    let mean = scaled.clone().mean_dim(1);
    let along = (scaled.clone() * normalized.clone()).mean_dim(1);
    let grad_x = (scaled - mean - normalized * along) * inverse;
    (
        from_f32(grad_x, x_dtype),
        from_f32(grad_weight, weight_dtype),
        from_f32(grad_bias, weight_dtype),
    )
}

/// See [`GlmBackend::glm_rotary`](super::GlmBackend::glm_rotary).
pub fn rotary<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    pairs: RotaryPairs,
    direction: Direction,
) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 4>(x);
    // [batch or 1, tokens, 1, pairs]
    let cos = wrap::<B, 3>(cos).unsqueeze_dim::<4>(2);
    let sin = wrap::<B, 3>(sin).unsqueeze_dim::<4>(2);
    let sin = match direction {
        Direction::Forward => sin,
        Direction::Inverse => sin.neg(),
    };
    let rotated = match pairs {
        RotaryPairs::Interleaved => rotate_interleaved(x, cos, sin),
        RotaryPairs::TwoHalves => rotate_two_halves(x, cos, sin),
    };
    from_f32(rotated, dtype)
}

/// Pairs `(2i, 2i+1)` of the first `2·pairs` dimensions; the rest passes.
fn rotate_interleaved<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
) -> Tensor<B, 4> {
    let [batch, tokens, heads, head_dim] = x.dims();
    let pairs = cos.dims()[3];
    let turned = x.clone().narrow(3, 0, 2 * pairs);
    let turned = turned.reshape([batch, tokens, heads, pairs, 2]);
    let first = turned.clone().narrow(4, 0, 1).squeeze_dim::<4>(4);
    let second = turned.narrow(4, 1, 1).squeeze_dim::<4>(4);
    let new_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let new_second = second * cos + first * sin;
    let turned = Tensor::stack::<5>(vec![new_first, new_second], 4);
    let turned = turned.reshape([batch, tokens, heads, 2 * pairs]);
    match head_dim - 2 * pairs {
        0 => turned,
        rest => Tensor::cat(vec![turned, x.narrow(3, 2 * pairs, rest)], 3),
    }
}

/// Each half of the head on its own: pairs `(i, i + head_dim/4)` within it.
fn rotate_two_halves<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
) -> Tensor<B, 4> {
    let quarter = x.dims()[3] / 4;
    let parts = (0..2).flat_map(|half| {
        let first = x.clone().narrow(3, 2 * half * quarter, quarter);
        let second = x.clone().narrow(3, (2 * half + 1) * quarter, quarter);
        let cos = cos.clone().narrow(3, half * quarter, quarter);
        let sin = sin.clone().narrow(3, half * quarter, quarter);
        [
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ]
    });
    Tensor::cat(parts.collect(), 3)
}

/// The two halves of the last axis.
fn halves<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let width = x.dims()[1] / 2;
    (x.clone().narrow(1, 0, width), x.narrow(1, width, width))
}

/// See [`GlmBackend::glm_swiglu`](super::GlmBackend::glm_swiglu).
pub fn swiglu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (gate, up) = halves(x);
    from_f32(sigmoid(gate.clone()) * gate * up, dtype)
}

/// See [`GlmBackend::glm_swiglu_backward`](super::GlmBackend::glm_swiglu_backward).
pub fn swiglu_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (grad, _) = to_f32::<B, 2>(grad);
    let (gate, up) = halves(x);
    let sigmoid = sigmoid(gate.clone());
    let silu = sigmoid.clone() * gate.clone();
    // silu'(g) = σ(g)·(1 + g·(1 - σ(g)))
    let slope = sigmoid.clone() * (gate * (sigmoid.neg().add_scalar(1.0))).add_scalar(1.0);
    let grad_gate = grad.clone() * up * slope;
    let grad_up = grad * silu;
    from_f32(Tensor::cat(vec![grad_gate, grad_up], 1), dtype)
}

/// `tanh(sqrt(2/π)·(x + 0.044715·x³))`.
fn gelu_inner<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let cubic = (x.clone() * x.clone())
        .mul_scalar(GELU_CUBIC)
        .add_scalar(1.0);
    tanh((x * cubic).mul_scalar(SQRT_2_OVER_PI))
}

/// See [`GlmBackend::glm_gelu_tanh`](super::GlmBackend::glm_gelu_tanh).
pub fn gelu_tanh<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let inner = gelu_inner(x.clone()).add_scalar(1.0);
    from_f32((x * inner).mul_scalar(0.5), dtype)
}

/// See [`GlmBackend::glm_gelu_tanh_backward`](super::GlmBackend::glm_gelu_tanh_backward).
pub fn gelu_tanh_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let (x, dtype) = to_f32::<B, 2>(x);
    let (grad, _) = to_f32::<B, 2>(grad);
    let inner = gelu_inner(x.clone());
    let square = x.clone() * x.clone();
    let argument_slope = square
        .mul_scalar(3.0 * GELU_CUBIC)
        .add_scalar(1.0)
        .mul_scalar(SQRT_2_OVER_PI);
    let tanh_slope = (inner.clone() * inner.clone()).neg().add_scalar(1.0);
    let slope = inner.add_scalar(1.0) + x * tanh_slope * argument_slope;
    from_f32((grad * slope).mul_scalar(0.5), dtype)
}

/// The sizes of one attention.
struct Sizes {
    batch: usize,
    queries: usize,
    heads: usize,
    head_dim: usize,
    keys: usize,
    groups: usize,
}

impl Sizes {
    fn of<B: Backend>(input: &AttentionInput<B>) -> Self {
        let query = input.query.shape();
        let key = input.key.shape();
        Self {
            batch: query[0],
            queries: query[1],
            heads: query[2],
            head_dim: query[3],
            keys: key[1],
            groups: key[2],
        }
    }

    /// Heads that share one group of keys and values.
    fn share(&self) -> usize {
        self.heads / self.groups
    }

    /// Ranges of queries whose scores fit the bound of memory.
    fn query_chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let per_query = (self.batch * self.heads * self.keys).max(1);
        let chunk = (MAX_SCORES / per_query).clamp(1, self.queries.max(1));
        let queries = self.queries;
        (0..queries)
            .step_by(chunk)
            .map(move |start| (start, chunk.min(queries - start)))
    }

    /// `[batch, n, heads, d]` → `[batch, groups, share·n, d]`.
    fn fold_heads<B: Backend>(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, tokens, _, head_dim] = x.dims();
        x.swap_dims(1, 2)
            .reshape([batch, self.groups, self.share() * tokens, head_dim])
    }

    /// `[batch, groups, share·n, d]` → `[batch, n, heads, d]`.
    fn unfold_heads<B: Backend>(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, _, rows, head_dim] = x.dims();
        x.reshape([batch, self.heads, rows / self.share(), head_dim])
            .swap_dims(1, 2)
    }
}

/// Scaled and masked scores of a range of queries in float32, `[batch, groups, share·len, keys]`.
fn scores<B: Backend>(
    input: &AttentionInput<B>,
    sizes: &Sizes,
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    start: usize,
) -> Tensor<B, 4> {
    let [batch, len, _, _] = query.dims();
    let query = sizes.fold_heads(query).mul_scalar(input.scale.pre);
    let scores = query.matmul(key.swap_dims(2, 3)).cast(DType::F32);
    let shape = scores.shape();
    let scores = scores.mul_scalar(input.scale.post);
    match input.mask.hidden() {
        None => scores,
        Some(hidden) => {
            let hidden = hidden.narrow(1, start, len);
            let rows = hidden.dims()[0];
            let hidden = hidden.reshape([rows, 1, len, sizes.keys]).expand([
                batch,
                sizes.heads,
                len,
                sizes.keys,
            ]);
            scores
                .reshape([batch, sizes.heads, len, sizes.keys])
                .mask_fill(hidden, f32::NEG_INFINITY)
                .reshape(shape)
        }
    }
}

/// See [`GlmBackend::glm_attention`](super::GlmBackend::glm_attention).
pub fn attention<B: Backend>(input: AttentionInput<B>) -> AttentionOutput<B> {
    let sizes = Sizes::of(&input);
    let dtype = input.query.dtype();
    let query = wrap::<B, 4>(input.query.clone());
    let key = wrap::<B, 4>(input.key.clone()).swap_dims(1, 2);
    let value = wrap::<B, 4>(input.value.clone()).swap_dims(1, 2);

    let (outputs, sums): (Vec<_>, Vec<_>) = sizes
        .query_chunks()
        .map(|(start, len)| {
            let part = query.clone().narrow(1, start, len);
            let scores = scores(&input, &sizes, part, key.clone(), start);
            let maximum = scores.clone().max_dim(3);
            let weights = (scores - maximum.clone()).exp();
            let sum = weights.clone().sum_dim(3);
            let probabilities = (weights / sum.clone()).cast(dtype);
            let output = sizes.unfold_heads(probabilities.matmul(value.clone()));
            let log_sum_exp = (sum.log() + maximum).reshape([sizes.batch, sizes.heads, len]);
            (output, log_sum_exp)
        })
        .unzip();
    AttentionOutput {
        output: unwrap(Tensor::cat(outputs, 1)),
        log_sum_exp: unwrap(Tensor::cat(sums, 2)),
    }
}

/// See [`GlmBackend::glm_attention_backward`](super::GlmBackend::glm_attention_backward).
pub fn attention_backward<B: Backend>(
    input: AttentionInput<B>,
    output: AttentionOutput<B>,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let sizes = Sizes::of(&input);
    let dtype = input.query.dtype();
    let query = wrap::<B, 4>(input.query.clone());
    let key = wrap::<B, 4>(input.key.clone()).swap_dims(1, 2);
    let value = wrap::<B, 4>(input.value.clone()).swap_dims(1, 2);
    let grad = wrap::<B, 4>(grad);
    let result = wrap::<B, 4>(output.output);
    let log_sum_exp = wrap::<B, 3>(output.log_sum_exp);
    let folded = |len: usize| [sizes.batch, sizes.groups, sizes.share() * len, 1];

    let mut grad_query = Vec::new();
    let mut grad_key = None;
    let mut grad_value = None;
    for (start, len) in sizes.query_chunks() {
        let part = query.clone().narrow(1, start, len);
        let part_grad = sizes.fold_heads(grad.clone().narrow(1, start, len));
        let part_result = sizes.fold_heads(result.clone().narrow(1, start, len));
        let sums = log_sum_exp
            .clone()
            .narrow(2, start, len)
            .reshape(folded(len));
        let scores = scores(&input, &sizes, part.clone(), key.clone(), start);
        let probabilities = (scores - sums).exp();

        let part_grad_value = probabilities
            .clone()
            .cast(dtype)
            .swap_dims(2, 3)
            .matmul(part_grad.clone());
        // rowsum(dO ∘ O) = rowsum(dP ∘ P) (Dao et al. 2022, appendix B.2)
        let along = (part_grad.clone() * part_result)
            .cast(DType::F32)
            .sum_dim(3);
        let grad_probabilities = part_grad.matmul(value.clone().swap_dims(2, 3));
        let grad_scores = (probabilities * (grad_probabilities.cast(DType::F32) - along))
            .mul_scalar(input.scale.total())
            .cast(dtype);
        grad_query.push(sizes.unfold_heads(grad_scores.clone().matmul(key.clone())));
        let part_grad_key = grad_scores.swap_dims(2, 3).matmul(sizes.fold_heads(part));
        grad_key = Some(accumulate(grad_key, part_grad_key));
        grad_value = Some(accumulate(grad_value, part_grad_value));
    }
    let zeros = || {
        let shape = [sizes.batch, sizes.groups, sizes.keys, sizes.head_dim];
        Tensor::zeros(shape, (&query.device(), dtype))
    };
    (
        unwrap(Tensor::cat(grad_query, 1)),
        unwrap(grad_key.unwrap_or_else(zeros).swap_dims(1, 2)),
        unwrap(grad_value.unwrap_or_else(zeros).swap_dims(1, 2)),
    )
}

fn accumulate<B: Backend>(sum: Option<Tensor<B, 4>>, part: Tensor<B, 4>) -> Tensor<B, 4> {
    match sum {
        Some(sum) => sum + part,
        None => part,
    }
}

/// See [`GlmBackend::glm_head_loss`](super::GlmBackend::glm_head_loss).
pub fn head_loss<B: Backend>(
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
        let target = targets
            .clone()
            .slice([rows_here.clone()])
            .unsqueeze_dim::<2>(1);
        let logits = match &adapter {
            Some(adapter) => base.logits(&rows_here) + adapter.logits(&rows_here),
            None => base.logits(&rows_here),
        };
        let (losses, grad) = row_losses(logits, target, rows);
        loss = Some(match loss {
            Some(loss) => loss + losses,
            None => losses,
        });
        let grad = grad.mul_scalar(factors.logits).cast(dtype);
        for term in std::iter::once(&mut base).chain(&mut adapter) {
            term.add(&grad, &rows_here);
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

/// See [`GlmBackend::glm_dropout`](super::GlmBackend::glm_dropout). The mask is computed on the host.
pub fn dropout<B: Backend>(x: FloatTensor<B>, dropout: Dropout) -> FloatTensor<B> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let elements = shape.num_elements();
    let x = flat::<B>(x);
    let factors: Vec<f32> = (0..elements).map(|index| dropout.factor(index)).collect();
    let factors = Tensor::from_data(TensorData::new(factors, [elements]), (&x.device(), dtype));
    B::float_reshape(unwrap(x * factors), shape)
}

/// A tensor of any rank as one row.
fn flat<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 1> {
    let elements = x.shape().num_elements();
    wrap(B::float_reshape(x, Shape::new([elements])))
}

/// See [`GlmBackend::glm_sum_of_squares`](super::GlmBackend::glm_sum_of_squares).
pub fn sum_of_squares<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let x = flat::<B>(x).cast(DType::F32);
    unwrap((x.clone() * x).sum())
}

/// See [`GlmBackend::glm_adamw`](super::GlmBackend::glm_adamw).
pub fn adamw<B: Backend>(
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    moments: AdamMoments<B>,
    step: &AdamStep,
) -> (FloatTensor<B>, AdamMoments<B>) {
    let shape = weight.shape();
    let [correction1, correction2] = step.bias_corrections();
    let weight = flat::<B>(weight);
    let grad = flat::<B>(grad).cast(DType::F32).mul_scalar(step.grad_scale);
    let first =
        flat::<B>(moments.first).mul_scalar(step.beta1) + grad.clone().mul_scalar(1.0 - step.beta1);
    let second = flat::<B>(moments.second).mul_scalar(step.beta2)
        + (grad.clone() * grad).mul_scalar(1.0 - step.beta2);
    let denominator = second
        .clone()
        .div_scalar(correction2)
        .sqrt()
        .add_scalar(step.epsilon);
    let update = first.clone().div_scalar(correction1) / denominator
        + weight.clone().mul_scalar(step.weight_decay);
    let weight = weight - update.mul_scalar(step.lr);
    let back = |x: Tensor<B, 1>| B::float_reshape(unwrap(x), shape.clone());
    let moments = AdamMoments {
        first: back(first),
        second: back(second),
    };
    (back(weight), moments)
}

//! Attention of Burn's matrix products, over as many queries at a time as memory is meant to hold scores.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorMetadata};

use super::operands::{AttentionInput, AttentionOutput};
use super::sizes::Sizes;
use crate::layers::ops::primitive::{unwrap, wrap};

/// Scores of at most this many elements exist at once (256 MiB in float32).
const MAX_SCORES: usize = 1 << 26;

impl Sizes {
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

/// See [`AttentionOps::glm_attention`](super::AttentionOps::glm_attention).
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

/// See [`AttentionOps::glm_attention_backward`](super::AttentionOps::glm_attention_backward).
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

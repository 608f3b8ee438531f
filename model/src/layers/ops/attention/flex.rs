//! Attention head by head in blocks of queries: scores of one block live in the cache of one core, keys
//! outside the block's visible range are never touched, and the backward pass recomputes the
//! probabilities from the kept logarithms of their sums (after Dao et al. 2022).

use std::ops::Range;

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::one_query::Stored;
use super::sizes::{BLOCK, Sizes};
use super::{AttentionInput, AttentionOps, AttentionOutput};
use crate::layers::mask::MaskSpec;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::products::Matrix;
use crate::layers::ops::flex::simd::{dot, exp, maximum, simd, sum};
use crate::layers::ops::flex::values::{Halves, Shared, Values, from_vec};

/// Attention of fewer multiplications than this is not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 17;

impl AttentionOps for Flex {
    fn glm_attention(input: AttentionInput<Flex>) -> AttentionOutput<Flex> {
        attention(input)
    }

    fn glm_attention_backward(
        input: AttentionInput<Flex>,
        output: AttentionOutput<Flex>,
        grad: Float,
    ) -> (Float, Float, Float) {
        attention_backward(input, output, grad)
    }
}

impl Sizes {
    /// Elements from one query to the next of the same head.
    fn query_stride(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements from one key to the next of the same group.
    fn key_stride(&self) -> usize {
        self.groups * self.head_dim
    }

    fn query_offset(&self, batch: usize, query: usize, head: usize) -> usize {
        ((batch * self.queries + query) * self.heads + head) * self.head_dim
    }

    fn key_offset(&self, batch: usize, key: usize, group: usize) -> usize {
        ((batch * self.keys + key) * self.groups + group) * self.head_dim
    }

    /// The blocks of rows of one batch row and group, none of which holds queries of two sequences. A block of
    /// several queries belongs to one head; a single query (generation) takes all heads of its group
    /// together, since they share its keys.
    fn blocks(&self, mask: &MaskSpec, batch: usize, group: usize) -> Vec<Block> {
        let runs = mask.runs(batch).into_iter();
        runs.flat_map(|run| self.blocks_of_run(run, batch, group))
            .collect()
    }

    fn blocks_of_run(&self, run: Range<usize>, batch: usize, group: usize) -> Vec<Block> {
        let first = group * self.share();
        if run.len() == 1 {
            return vec![Block {
                batch,
                group,
                head: first,
                query: run.start,
                rows: self.share(),
                stride: self.head_dim,
                one_query: true,
            }];
        }
        let heads = first..first + self.share();
        heads
            .flat_map(|head| {
                run.clone().step_by(BLOCK).map(move |query| Block {
                    batch,
                    group,
                    head,
                    query,
                    rows: BLOCK.min(run.end - query),
                    stride: self.query_stride(),
                    one_query: false,
                })
            })
            .collect()
    }
}

/// Rows of queries that are worked on together.
#[derive(Clone, Copy)]
struct Block {
    batch: usize,
    group: usize,
    head: usize,
    query: usize,
    rows: usize,
    /// Elements from one row to the next.
    stride: usize,
    one_query: bool,
}

impl Block {
    /// The keys that a row sees beside the prefix.
    fn interval(&self, mask: &MaskSpec, row: usize) -> (usize, usize) {
        let within = if self.one_query { 0 } else { row };
        mask.interval(self.batch, self.query + within)
    }

    /// The range of keys outside which no row of the block sees anything.
    fn range(&self, mask: &MaskSpec) -> (usize, usize) {
        let intervals = (0..self.rows).map(|row| self.interval(mask, row));
        let (from, to) = intervals.fold((usize::MAX, mask.prefix), |(from, to), (a, b)| {
            (from.min(a), to.max(b))
        });
        (if mask.prefix > 0 { 0 } else { from.min(to) }, to)
    }

    /// Index of a row's sum in `[batch, heads, queries]`.
    fn sum_index(&self, sizes: &Sizes, row: usize) -> usize {
        let (head, query) = match self.one_query {
            true => (self.head + row, self.query),
            false => (self.head, self.query + row),
        };
        (self.batch * sizes.heads + head) * sizes.queries + query
    }
}

/// A strided matrix: its first element and the distance between rows; elements of a row are adjacent.
#[derive(Clone, Copy)]
struct Strided {
    data: *const f32,
    stride: usize,
}

/// `out[m, n] = alpha · a[m, k] · b[n, k]ᵀ`.
///
/// # Safety
/// The matrices must hold the elements that the sizes and strides reach.
unsafe fn times_transposed(
    out: *mut f32,
    out_stride: usize,
    alpha: f32,
    [m, n, k]: [usize; 3],
    a: Strided,
    b: Strided,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            out_stride as isize,
            false,
            a.data,
            1,
            a.stride as isize,
            b.data,
            b.stride as isize,
            1,
            0.0f32,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `out[m, n] (+)= alpha · a · b[k, n]`, where `a` is `[m, k]`, or `[k, m]` if `transposed`.
///
/// # Safety
/// The matrices must hold the elements that the sizes and strides reach.
#[allow(clippy::too_many_arguments)]
unsafe fn times(
    out: *mut f32,
    out_stride: usize,
    add: bool,
    alpha: f32,
    [m, n, k]: [usize; 3],
    a: Strided,
    transposed: bool,
    b: Strided,
) {
    let (column, row) = match transposed {
        true => (a.stride as isize, 1),
        false => (1, a.stride as isize),
    };
    // SAFETY: by the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            out_stride as isize,
            add,
            a.data,
            column,
            row,
            b.data,
            1,
            b.stride as isize,
            if add { 1.0f32 } else { 0.0 },
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

simd! {
/// Scores → probabilities in place, hidden keys to zero; the logarithm of the sum is returned.
///
/// `scores` holds keys `from …` of one row, `(low, high)` the keys seen beside the prefix.
fn softmax_row(scores: &mut [f32], from: usize, prefix: usize, (low, high): (usize, usize)) -> f32 {
    let end = from + scores.len();
    let (low, high) = (low.clamp(from, end) - from, high.clamp(from, end) - from);
    let prefix = prefix.saturating_sub(from).min(low);
    let top = maximum(&scores[..prefix]).max(maximum(&scores[low..high]));
    let mut total = 0.0;
    for range in [0..prefix, low..high] {
        let part = &mut scores[range];
        for score in part.iter_mut() {
            *score = exp(*score - top);
        }
        let part = &*part;
        total += sum(part.len(), |i| part[i]);
    }
    scores[prefix..low].fill(0.0);
    scores[high..].fill(0.0);
    let inverse = 1.0 / total;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
    top + total.ln()
}
}

/// Runs a task per batch row and group of heads.
fn for_each_group(sizes: &Sizes, task: impl Fn(usize, usize) + Sync + Send) {
    let groups = sizes.groups;
    (0..sizes.batch * groups)
        .into_par_iter()
        .for_each(|index| task(index / groups, index % groups));
}

/// Keys or values where they lie. Those of a cache have room behind them, and are read without being copied
/// together first.
struct Lines {
    tensor: FlexTensor,
    /// Elements before the first one, and from one row of the batch, key and group to the next.
    start: usize,
    strides: [usize; 3],
}

impl Lines {
    /// Float32 lines; 16-bit ones stay as they are where most are read once, or never: for a single query, and in
    /// the cache of many sequences.
    fn of(tensor: Float, sizes: &Sizes, mask: &MaskSpec) -> Self {
        let stays = match tensor.dtype() {
            DType::F32 => true,
            DType::F16 | DType::BF16 => sizes.queries == 1 || reads_few(mask, sizes),
            _ => false,
        };
        let strides = strides(&tensor).filter(|_| stays);
        match strides {
            Some(strides) => Self {
                start: tensor.layout().start_offset(),
                strides,
                tensor,
            },
            None => Self {
                tensor: Values::of(tensor).into_tensor(),
                start: 0,
                strides: [
                    sizes.keys * sizes.groups * sizes.head_dim,
                    sizes.groups * sizes.head_dim,
                    sizes.head_dim,
                ],
            },
        }
    }

    /// The lines of keys `from … to` of a block where they lie.
    fn stored(&self, block: &Block, (from, to): (usize, usize), head_dim: usize) -> Stored<'_> {
        let [batch, key, group] = self.strides;
        let start = self.start + block.batch * batch + from * key + block.group * group;
        Stored::of(&self.tensor, start, [to - from, head_dim], key)
    }

    /// The lines of keys `from … to` of a block; `buffer` takes those that have to be widened.
    fn matrix(
        &self,
        block: &Block,
        (from, to): (usize, usize),
        head_dim: usize,
        buffer: &mut Vec<f32>,
    ) -> Strided {
        let [batch, key, group] = self.strides;
        let line = |index| self.start + block.batch * batch + index * key + block.group * group;
        let Some(halves) = Halves::of(&self.tensor) else {
            let lines: &[f32] = self.tensor.storage();
            return Strided {
                data: lines[line(from).min(lines.len())..].as_ptr(),
                stride: key,
            };
        };
        buffer.resize((to - from) * head_dim, 0.0);
        for (index, out) in (from..to).zip(buffer.chunks_mut(head_dim)) {
            halves.widen_into(line(index), out);
        }
        Strided {
            data: buffer.as_ptr(),
            stride: head_dim,
        }
    }
}

/// Whether the queries of one row see less than half as many keys as there are, or are of several sequences.
fn reads_few(mask: &MaskSpec, sizes: &Sizes) -> bool {
    let seen = |run: Range<usize>| {
        let (from, _) = mask.interval(0, run.start);
        let to = run.map(|query| mask.interval(0, query).1).max();
        to.unwrap_or(from) - from
    };
    let runs = mask.runs(0);
    sizes.batch == 1
        && (runs.len() > 1 || runs.into_iter().map(seen).sum::<usize>() * 2 < sizes.keys)
}

/// Elements from one row of the batch, key and group to the next, if the elements of a line are adjacent.
fn strides(tensor: &FlexTensor) -> Option<[usize; 3]> {
    let strides = tensor.layout().strides();
    let [batch, key, group, 1] = *strides else {
        return None;
    };
    let positive = |stride: isize| usize::try_from(stride).ok();
    Some([positive(batch)?, positive(key)?, positive(group)?])
}

/// See [`AttentionOps::glm_attention`](super::AttentionOps::glm_attention).
pub fn attention(input: AttentionInput<Flex>) -> AttentionOutput<Flex> {
    let sizes = Sizes::of(&input);
    let (shape, dtype) = (input.query.shape(), input.query.dtype());
    let mask = input.mask.spec();
    let query = Values::of(input.query.clone());
    let key = Lines::of(input.key.clone(), &sizes, mask);
    let value = Lines::of(input.value.clone(), &sizes, mask);
    let mut output = vec![0.0; query.len()];
    let mut sums = vec![0.0; sizes.batch * sizes.heads * sizes.queries];
    let (shared_output, shared_sums) = (Shared::new(&mut output), Shared::new(&mut sums));
    let scale = input.scale.total() as f32;

    let blocks: Vec<Block> = (0..sizes.batch * sizes.groups)
        .flat_map(|index| sizes.blocks(mask, index / sizes.groups, index % sizes.groups))
        .collect();
    let multiplications = |block: &Block| {
        let (from, to) = block.range(mask);
        block.rows * (to - from) * sizes.head_dim
    };
    let is_worth_threads = blocks.iter().map(multiplications).sum::<usize>() >= PARALLEL_FROM;
    let task = |block: Block| {
        let (from, to) = block.range(mask);
        let keys = to - from;
        let mut scores = vec![0.0f32; block.rows * keys];
        let at = sizes.query_offset(block.batch, block.query, block.head);
        let to_probabilities = |scores: &mut [f32]| {
            for (row, scores) in scores.chunks_mut(keys.max(1)).enumerate() {
                let interval = block.interval(mask, row);
                let sum = softmax_row(scores, from, mask.prefix, interval);
                // SAFETY: the sums of a block belong to no other.
                unsafe { *shared_sums.at(block.sum_index(&sizes, row)) = sum };
            }
        };
        if block.one_query {
            let dims = [block.rows, sizes.head_dim];
            let queries = Matrix::new(&query[at..], dims, block.stride);
            let [stored_keys, stored_values] =
                [&key, &value].map(|lines| lines.stored(&block, (from, to), sizes.head_dim));
            stored_keys.scores(queries, keys, scale, &mut scores);
            to_probabilities(&mut scores);
            // SAFETY: the heads of a group lie one after the other, and belong to no other block.
            let out = unsafe {
                let elements = block.rows * sizes.head_dim;
                std::slice::from_raw_parts_mut(shared_output.at(at), elements)
            };
            let probabilities = Matrix::new(&scores, [block.rows, keys], keys);
            return stored_values.summed(probabilities, out);
        }
        let (mut wide_keys, mut wide_values) = (Vec::new(), Vec::new());
        let keys_matrix = key.matrix(&block, (from, to), sizes.head_dim, &mut wide_keys);
        let values_matrix = value.matrix(&block, (from, to), sizes.head_dim, &mut wide_values);
        // SAFETY: `at` and the strides below walk rows of this block, and the matrices of keys and values the lines
        // `from … to` of its group, all within their tensors; the rows of the output of a block belong to no other.
        unsafe {
            let rows = Strided {
                data: query.as_ptr().add(at),
                stride: block.stride,
            };
            let dims = [block.rows, keys, sizes.head_dim];
            times_transposed(scores.as_mut_ptr(), keys, scale, dims, rows, keys_matrix);
            to_probabilities(&mut scores);
            let probabilities = Strided {
                data: scores.as_ptr(),
                stride: keys,
            };
            let dims = [block.rows, sizes.head_dim, keys];
            let out = shared_output.at(at);
            times(
                out,
                block.stride,
                false,
                1.0,
                dims,
                probabilities,
                false,
                values_matrix,
            );
        }
    };
    match is_worth_threads {
        true => blocks.into_par_iter().for_each(task),
        false => blocks.into_iter().for_each(task),
    }
    AttentionOutput {
        output: from_vec(output, shape, dtype),
        log_sum_exp: from_vec(
            sums,
            Shape::new([sizes.batch, sizes.heads, sizes.queries]),
            DType::F32,
        ),
    }
}

/// See [`AttentionOps::glm_attention_backward`](super::AttentionOps::glm_attention_backward).
pub fn attention_backward(
    input: AttentionInput<Flex>,
    output: AttentionOutput<Flex>,
    grad: Float,
) -> (Float, Float, Float) {
    let sizes = Sizes::of(&input);
    let dtype = input.query.dtype();
    let (query_shape, key_shape) = (input.query.shape(), input.key.shape());
    let mask = input.mask.spec();
    let scale = input.scale.total() as f32;
    let (query, key, value) = (
        Values::of(input.query.clone()),
        Values::of(input.key.clone()),
        Values::of(input.value.clone()),
    );
    let (result, sums, grad) = (
        Values::of(output.output),
        Values::of(output.log_sum_exp),
        Values::of(grad),
    );
    let mut grads = [
        vec![0.0; query.len()],
        vec![0.0; key.len()],
        vec![0.0; value.len()],
    ];
    let [grad_query, grad_key, grad_value] = grads.each_mut().map(|grad| Shared::new(grad));

    // One task per group: all heads of a group add to the same gradients of keys and values.
    for_each_group(&sizes, |batch, group| {
        for block in sizes.blocks(mask, batch, group) {
            let (from, to) = block.range(mask);
            let keys = to - from;
            let at = sizes.query_offset(block.batch, block.query, block.head);
            let key_at = sizes.key_offset(block.batch, from, block.group);
            let mut probabilities = vec![0.0f32; block.rows * keys];
            let mut grad_scores = vec![0.0f32; block.rows * keys];
            let score_dims = [block.rows, keys, sizes.head_dim];
            let row_dims = [block.rows, sizes.head_dim, keys];
            let key_dims = [keys, sizes.head_dim, block.rows];
            // SAFETY: as in `attention`; rows of the queries' gradient belong to this block alone, and
            // the gradients of this group's keys and values to this task alone.
            unsafe {
                let rows = |data: &[f32]| Strided {
                    data: data.as_ptr().add(at),
                    stride: block.stride,
                };
                let of_keys = |data: &[f32]| Strided {
                    data: data.as_ptr().add(key_at),
                    stride: sizes.key_stride(),
                };
                let scores = probabilities.as_mut_ptr();
                times_transposed(scores, keys, scale, score_dims, rows(&query), of_keys(&key));
                let scores = grad_scores.as_mut_ptr();
                times_transposed(scores, keys, 1.0, score_dims, rows(&grad), of_keys(&value));
                for row in 0..block.rows {
                    let offset = at + row * block.stride;
                    let line = offset..offset + sizes.head_dim;
                    let span = row * keys..(row + 1) * keys;
                    let interval = block.interval(mask, row);
                    let sum = sums[block.sum_index(&sizes, row)];
                    let (probabilities, grad_scores) =
                        (&mut probabilities[span.clone()], &mut grad_scores[span]);
                    recompute_row(probabilities, from, mask.prefix, interval, sum);
                    let (grad, result) = (&grad[line.clone()], &result[line]);
                    score_gradients(grad_scores, probabilities, grad, result);
                }
                let matrix = |data: &[f32]| Strided {
                    data: data.as_ptr(),
                    stride: keys,
                };
                let (p, ds) = (matrix(&probabilities), matrix(&grad_scores));
                let stride = sizes.key_stride();
                let out = grad_value.at(key_at);
                times(out, stride, true, 1.0, key_dims, p, true, rows(&grad));
                let out = grad_key.at(key_at);
                times(out, stride, true, scale, key_dims, ds, true, rows(&query));
                let out = grad_query.at(at);
                times(
                    out,
                    block.stride,
                    false,
                    scale,
                    row_dims,
                    ds,
                    false,
                    of_keys(&key),
                );
            }
        }
    });
    let [grad_query, grad_key, grad_value] = grads;
    (
        from_vec(grad_query, query_shape, dtype),
        from_vec(grad_key, key_shape.clone(), dtype),
        from_vec(grad_value, key_shape, dtype),
    )
}

simd! {
/// Scores → probabilities by the kept logarithm of their sum, hidden keys to zero.
fn recompute_row(
    scores: &mut [f32],
    from: usize,
    prefix: usize,
    (low, high): (usize, usize),
    sum: f32,
) {
    let end = from + scores.len();
    let (low, high) = (low.clamp(from, end) - from, high.clamp(from, end) - from);
    let prefix = prefix.saturating_sub(from).min(low);
    for range in [0..prefix, low..high] {
        for score in &mut scores[range] {
            *score = exp(*score - sum);
        }
    }
    scores[prefix..low].fill(0.0);
    scores[high..].fill(0.0);
}
}

simd! {
/// Gradients of the probabilities → gradients of the scores: `dS = P ∘ (dP - rowsum(dO ∘ O))`.
fn score_gradients(grads: &mut [f32], probabilities: &[f32], grad: &[f32], result: &[f32]) {
    let along = dot(grad, result);
    for (grad, p) in grads.iter_mut().zip(probabilities) {
        *grad = *p * (*grad - along);
    }
}
}

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

    /// The keys that rows of the block see.
    fn seen(&self, mask: &MaskSpec) -> Seen {
        let intervals = (0..self.rows).map(|row| self.interval(mask, row));
        let (from, to) = intervals.fold((usize::MAX, mask.prefix), |(from, to), (a, b)| {
            (from.min(a), to.max(b))
        });
        Seen {
            prefix: mask.prefix,
            // A single query reads its keys as they lie: from the prefix on, where there is one.
            from: match self.one_query && mask.prefix > 0 {
                true => mask.prefix,
                false => from.min(to),
            },
            to,
        }
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

/// The keys outside which no row of a block sees anything: the prefix, and those `from … to`. Their scores stand side by
/// side, however many keys of other sequences lie between.
#[derive(Clone, Copy)]
struct Seen {
    prefix: usize,
    from: usize,
    to: usize,
}

impl Seen {
    /// How many.
    fn count(self) -> usize {
        self.prefix + self.to - self.from
    }

    /// The column of a key of those `from … to`, or of the one after them.
    fn column(self, key: usize) -> usize {
        key.clamp(self.from, self.to) - self.from + self.prefix
    }

    /// The columns of an interval of keys beside the prefix.
    fn columns(self, (low, high): (usize, usize)) -> (usize, usize) {
        (self.column(low), self.column(high))
    }

    /// The keys in pieces that lie together: the first column, and the keys.
    fn pieces(self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let Self { prefix, from, to } = self;
        let pieces = match prefix == from {
            true => [(0, 0..to), (to, to..to)],
            false => [(0, 0..prefix), (prefix, from..to)],
        };
        pieces.into_iter().filter(|(_, keys)| !keys.is_empty())
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
/// `scores` is one row, which sees the columns of the prefix and `low … high`.
fn softmax_row(scores: &mut [f32], prefix: usize, (low, high): (usize, usize)) -> f32 {
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
    let multiplications = |block: &Block| block.rows * block.seen(mask).count() * sizes.head_dim;
    let is_worth_threads = blocks.iter().map(multiplications).sum::<usize>() >= PARALLEL_FROM;
    let task = |block: Block| {
        let seen = block.seen(mask);
        let keys = seen.count();
        let mut scores = vec![0.0f32; block.rows * keys];
        let at = sizes.query_offset(block.batch, block.query, block.head);
        let to_probabilities = |scores: &mut [f32]| {
            for (row, scores) in scores.chunks_mut(keys.max(1)).enumerate() {
                let columns = seen.columns(block.interval(mask, row));
                let sum = softmax_row(scores, seen.prefix, columns);
                // SAFETY: the sums of a block belong to no other.
                unsafe { *shared_sums.at(block.sum_index(&sizes, row)) = sum };
            }
        };
        if block.one_query {
            let dims = [block.rows, sizes.head_dim];
            let queries = Matrix::new(&query[at..], dims, block.stride);
            // They lie together.
            let range = (seen.to - keys, seen.to);
            let [stored_keys, stored_values] =
                [&key, &value].map(|lines| lines.stored(&block, range, sizes.head_dim));
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
        let rows = Strided {
            // SAFETY: the queries of a block lie within their tensor.
            data: unsafe { query.as_ptr().add(at) },
            stride: block.stride,
        };
        let mut buffer = Vec::new();
        for (column, range) in seen.pieces() {
            let dims = [block.rows, range.len(), sizes.head_dim];
            let lines = key.matrix(
                &block,
                (range.start, range.end),
                sizes.head_dim,
                &mut buffer,
            );
            // SAFETY: `at` and the strides walk rows of this block, the matrix the lines of keys of its group, within
            // their tensors, and the columns are those of these keys.
            unsafe {
                let out = scores.as_mut_ptr().add(column);
                times_transposed(out, keys, scale, dims, rows, lines);
            }
        }
        to_probabilities(&mut scores);
        for (column, range) in seen.pieces() {
            let dims = [block.rows, sizes.head_dim, range.len()];
            let lines = value.matrix(
                &block,
                (range.start, range.end),
                sizes.head_dim,
                &mut buffer,
            );
            let probabilities = Strided {
                data: scores[column..].as_ptr(),
                stride: keys,
            };
            // SAFETY: as above; the rows of the output of a block belong to no other.
            unsafe {
                let (out, add) = (shared_output.at(at), column > 0);
                times(
                    out,
                    block.stride,
                    add,
                    1.0,
                    dims,
                    probabilities,
                    false,
                    lines,
                );
            }
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
            let seen = block.seen(mask);
            let keys = seen.count();
            let at = sizes.query_offset(block.batch, block.query, block.head);
            let mut probabilities = vec![0.0f32; block.rows * keys];
            let mut grad_scores = vec![0.0f32; block.rows * keys];
            // SAFETY: the queries of a block, and the gradients of their results, lie within their tensors.
            let rows = |data: &[f32]| Strided {
                data: unsafe { data.as_ptr().add(at) },
                stride: block.stride,
            };
            let key_at = |key: usize| sizes.key_offset(block.batch, key, block.group);
            let of_keys = |data: &[f32], from: usize| Strided {
                data: data[key_at(from)..].as_ptr(),
                stride: sizes.key_stride(),
            };
            for (column, range) in seen.pieces() {
                let dims = [block.rows, range.len(), sizes.head_dim];
                let (lines, others) = (of_keys(&key, range.start), of_keys(&value, range.start));
                // SAFETY: as in `attention`.
                unsafe {
                    let out = probabilities.as_mut_ptr().add(column);
                    times_transposed(out, keys, scale, dims, rows(&query), lines);
                    let out = grad_scores.as_mut_ptr().add(column);
                    times_transposed(out, keys, 1.0, dims, rows(&grad), others);
                }
            }
            for row in 0..block.rows {
                let offset = at + row * block.stride;
                let line = offset..offset + sizes.head_dim;
                let span = row * keys..(row + 1) * keys;
                let columns = seen.columns(block.interval(mask, row));
                let sum = sums[block.sum_index(&sizes, row)];
                let (probabilities, grad_scores) =
                    (&mut probabilities[span.clone()], &mut grad_scores[span]);
                recompute_row(probabilities, seen.prefix, columns, sum);
                let (grad, result) = (&grad[line.clone()], &result[line]);
                score_gradients(grad_scores, probabilities, grad, result);
            }
            for (column, range) in seen.pieces() {
                let matrix = |data: &[f32]| Strided {
                    data: data[column..].as_ptr(),
                    stride: keys,
                };
                let (p, ds) = (matrix(&probabilities), matrix(&grad_scores));
                let stride = sizes.key_stride();
                let key_dims = [range.len(), sizes.head_dim, block.rows];
                let row_dims = [block.rows, sizes.head_dim, range.len()];
                let first = key_at(range.start);
                let lines = of_keys(&key, range.start);
                // SAFETY: as in `attention`; rows of the queries' gradient belong to this block alone, and the
                // gradients of this group's keys and values to this task alone.
                unsafe {
                    let out = grad_value.at(first);
                    times(out, stride, true, 1.0, key_dims, p, true, rows(&grad));
                    let out = grad_key.at(first);
                    times(out, stride, true, scale, key_dims, ds, true, rows(&query));
                    let (out, add) = (grad_query.at(at), column > 0);
                    times(out, block.stride, add, scale, row_dims, ds, false, lines);
                }
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
fn recompute_row(scores: &mut [f32], prefix: usize, (low, high): (usize, usize), sum: f32) {
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

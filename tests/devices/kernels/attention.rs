//! Attention by tiles, against the default in float32 on the same values: in 16 bits the default rounds scores and
//! probabilities, which the kernels do not. Both backward passes get the result of the kernel, since its rounding to
//! 16 bits counts where terms of a gradient cancel.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType};
use glmtune::model::layers::mask::{AttentionMask, MaskSpec};
use glmtune::model::layers::ops::attention::default;
use glmtune::model::layers::ops::attention::{AttentionInput, AttentionOutput, AttentionScale};
use glmtune::training::TrainingBackend;

use super::{Trial, assert_close, floats, kernel_tests, primitive};

kernel_tests!(
    attention,
    attention_reads_any_strides,
    attention_of_hidden_rows,
    attention_is_the_same_every_time,
    intervals_are_uploaded_with_the_prefix
);

/// Batch, queries, keys, heads, groups and dimension of a head.
#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    groups: usize,
    head_dim: usize,
}

const fn case(sizes: [usize; 6]) -> Case {
    let [batch, queries, keys, heads, groups, head_dim] = sizes;
    Case {
        batch,
        queries,
        keys,
        heads,
        groups,
        head_dim,
    }
}

/// Few keys, tiny heads, a single query after many keys, fewer queries than keys, more than a tile of both, and sizes
/// of which no tile or vector is a part.
const CASES: [Case; 9] = [
    case([1, 1, 3, 1, 1, 8]),
    case([2, 5, 5, 4, 2, 16]),
    case([1, 1, 300, 8, 2, 64]),
    case([3, 1, 77, 2, 2, 8]),
    case([1, 70, 70, 4, 1, 32]),
    case([2, 33, 50, 2, 1, 7]),
    case([1, 40, 200, 2, 2, 128]),
    case([1, 100, 130, 2, 1, 128]),
    case([1, 9, 9, 2, 1, 250]),
];

/// The masks of the family: the name, the prefix, and the keys that a query sees beside it.
const MASKS: [&str; 7] = [
    "all",
    "causal",
    "padded",
    "prefix",
    "bidirectional",
    "packed",
    "prefix, packed",
];

impl Case {
    fn mask(&self, kind: &str) -> MaskSpec {
        let prefix = match kind.starts_with("prefix") {
            true => self.keys / 3,
            false => 0,
        };
        let keys = self.keys - prefix;
        let before = keys.saturating_sub(self.queries);
        let rows = if kind == "padded" { self.batch } else { 1 };
        let visible = (0..rows).flat_map(|row| {
            (0..self.queries).map(move |query| {
                // A prefix may take more keys than there are queries.
                let own = (before + query + 1).min(keys);
                let (from, to) = match kind {
                    "all" => (0, keys),
                    // Padding that ends where the row's first query begins.
                    "padded" => ((2 * row + 1).min(own - 1), own),
                    "bidirectional" => (0, own.max(keys / 2)),
                    "packed" | "prefix, packed" => ((own - 1) / 7 * 7, own),
                    _ => (0, own),
                };
                (from as u32, to as u32)
            })
        });
        MaskSpec {
            prefix,
            keys: self.keys,
            queries: self.queries,
            visible: visible.collect(),
        }
    }

    fn query(&self) -> [usize; 4] {
        [self.batch, self.queries, self.heads, self.head_dim]
    }

    fn key(&self) -> [usize; 4] {
        [self.batch, self.keys, self.groups, self.head_dim]
    }
}

/// Queries, keys, values, and the gradient of the result.
type Operands<B> = [FloatTensor<B>; 4];

fn input<B: TrainingBackend>(
    [query, key, value]: [FloatTensor<B>; 3],
    mask: &AttentionMask<B>,
    head_dim: usize,
) -> AttentionInput<B> {
    AttentionInput {
        query,
        key,
        value,
        mask: mask.clone(),
        scale: AttentionScale::new(head_dim, 3.0),
    }
}

/// The masks that a case is tried with: the large ones take their time in software.
fn masks(case: Case) -> &'static [&'static str] {
    match case.head_dim {
        0..128 => &MASKS,
        _ => &["causal", "prefix"],
    }
}

/// What the kernels make of the operands, against the default.
fn compare<B: TrainingBackend>(
    what: &str,
    case: Case,
    mask: &AttentionMask<B>,
    operands: Operands<B>,
    dtype: DType,
) {
    let wide = operands
        .clone()
        .map(|operand| B::float_cast(operand, FloatDType::F32));
    let [query, key, value, grad] = operands;
    let found = input::<B>([query, key, value], mask, case.head_dim);
    let output = B::glm_attention(found.clone());
    let [wide_query, wide_key, wide_value, wide_grad] = wide;
    let expected = input::<B>([wide_query, wide_key, wide_value], mask, case.head_dim);
    let expected_output = default::attention::<B>(expected.clone());

    let (result, sums) = (output.output.clone(), output.log_sum_exp.clone());
    assert_close::<B, 4>(what, dtype, result.clone(), expected_output.output);
    let of = format!("{what}, logarithms of the sums");
    assert_close::<B, 3>(&of, DType::F32, sums.clone(), expected_output.log_sum_exp);

    let kept = AttentionOutput::<B> {
        output: B::float_cast(result, FloatDType::F32),
        log_sum_exp: sums,
    };
    let found = B::glm_attention_backward(found, output, grad);
    let expected = default::attention_backward::<B>(expected, kept, wide_grad);
    for (of, found, expected) in [
        ("queries", found.0, expected.0),
        ("keys", found.1, expected.1),
        ("values", found.2, expected.2),
    ] {
        let of = format!("{what}, gradient of {of}");
        assert_close::<B, 4>(&of, dtype, found, expected);
    }
}

fn attention<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for case in CASES {
            for &kind in masks(case) {
                let mask = AttentionMask::<B>::new(case.mask(kind), &trial.device);
                let operands = [case.query(), case.key(), case.key(), case.query()]
                    .map(|shape| trial.random(shape, dtype));
                compare(&format!("{kind}, {case:?}"), case, &mask, operands, dtype);
            }
        }
    }
}

/// Parts of one projection, keys and values of a cache with room behind them, heads before tokens, and elements of a
/// head that are not adjacent.
fn attention_reads_any_strides<B: TrainingBackend>(mut trial: Trial<B>) {
    let case = case([2, 21, 30, 4, 2, 16]);
    let mask = AttentionMask::<B>::new(case.mask("causal"), &trial.device);
    let [batch, queries, heads, head_dim] = case.query();
    let [_, keys, groups, _] = case.key();
    for dtype in trial.types() {
        let part = |trial: &mut Trial<B>, [batch, tokens, heads, head_dim]: [usize; 4]| {
            let whole = trial.tensor([batch, tokens, 2 * heads, head_dim], dtype);
            primitive(whole.narrow(2, heads, heads))
        };
        let swapped = |trial: &mut Trial<B>, [batch, tokens, heads, head_dim]: [usize; 4]| {
            primitive(
                trial
                    .tensor([batch, heads, tokens, head_dim], dtype)
                    .swap_dims(1, 2),
            )
        };
        let cached = |trial: &mut Trial<B>, [batch, tokens, heads, head_dim]: [usize; 4]| {
            let cache = trial.tensor([tokens + 34, batch, heads, head_dim], dtype);
            primitive(cache.narrow(0, 0, tokens).swap_dims(0, 1))
        };
        let apart = |trial: &mut Trial<B>, [batch, tokens, heads, head_dim]: [usize; 4]| {
            primitive(
                trial
                    .tensor([batch, tokens, head_dim, heads], dtype)
                    .swap_dims(2, 3),
            )
        };
        let (query, key) = (
            [batch, queries, heads, head_dim],
            [batch, keys, groups, head_dim],
        );
        let parts = [
            part(&mut trial, query),
            part(&mut trial, key),
            part(&mut trial, key),
            part(&mut trial, query),
        ];
        compare("parts", case, &mask, parts, dtype);
        let cache = [
            swapped(&mut trial, query),
            cached(&mut trial, key),
            swapped(&mut trial, key),
            trial.random(query, dtype),
        ];
        compare("cache", case, &mask, cache, dtype);
        let columns = [
            apart(&mut trial, query),
            cached(&mut trial, key),
            apart(&mut trial, key),
            apart(&mut trial, query),
        ];
        compare("columns", case, &mask, columns, dtype);
    }
}

/// Of a row that sees no key, the default makes no number; here it is zero, and no gradient comes from it.
fn attention_of_hidden_rows<B: TrainingBackend>(mut trial: Trial<B>) {
    let case = case([2, 20, 20, 2, 1, 8]);
    let hidden = |row: usize, query: usize| row == 1 && (3..7).contains(&query);
    let mut spec = case.mask("padded");
    for query in 0..20 {
        if hidden(1, query) {
            spec.visible[20 + query] = (9, 9);
        }
    }
    let mask = AttentionMask::<B>::new(spec, &trial.device);
    for dtype in trial.types() {
        let operands =
            [case.query(), case.key(), case.key()].map(|shape| trial.random(shape, dtype));
        let grad = trial.random(case.query(), dtype);
        let input = input::<B>(operands, &mask, case.head_dim);
        let output = B::glm_attention(input.clone());
        let result = floats::<B, 4>(output.output.clone());
        let (query, key, value) = B::glm_attention_backward(input, output, grad);
        let query = floats::<B, 4>(query);
        let width = case.heads * case.head_dim;
        for (index, (result, grad)) in result.iter().zip(&query).enumerate() {
            let token = index / width;
            let zero = hidden(token / 20, token % 20);
            assert_eq!(*result == 0.0, zero, "{index}");
            // What sees one key has no gradient either.
            assert!(grad.is_finite() && (*grad == 0.0 || !zero), "{index}");
        }
        let others = [floats::<B, 4>(key), floats::<B, 4>(value)].concat();
        assert!(others.iter().all(|grad| grad.is_finite()));
    }
}

fn attention_is_the_same_every_time<B: TrainingBackend>(mut trial: Trial<B>) {
    let case = case([1, 90, 200, 6, 2, 16]);
    let mask = AttentionMask::<B>::new(case.mask("causal"), &trial.device);
    let operands =
        [case.query(), case.key(), case.key()].map(|shape| trial.random(shape, DType::F32));
    let grad = trial.random(case.query(), DType::F32);
    let once = || {
        let input = input::<B>(operands.clone(), &mask, case.head_dim);
        let output = B::glm_attention(input.clone());
        let result = floats::<B, 4>(output.output.clone());
        let (query, key, value) = B::glm_attention_backward(input, output, grad.clone());
        [
            result,
            floats::<B, 4>(query),
            floats::<B, 4>(key),
            floats::<B, 4>(value),
        ]
    };
    assert_eq!(once(), once());
}

fn intervals_are_uploaded_with_the_prefix<B: TrainingBackend>(trial: Trial<B>) {
    let case = case([1, 3, 9, 1, 1, 8]);
    let mask = AttentionMask::<B>::new(case.mask("all"), &trial.device);
    assert!(mask.intervals().is_none());
    let mask = AttentionMask::<B>::new(case.mask("prefix"), &trial.device);
    let intervals = mask.intervals().unwrap();
    assert_eq!(intervals.dims(), [6]);
    let bounds: Vec<i32> = intervals.into_data().to_vec().unwrap();
    assert_eq!(bounds, [3, 7, 3, 8, 3, 9]);
}

//! Attention by tiles, in float32 and on tensor cores, against the CPU's in float32 on the same values.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorPrimitive};
use glmtune::model::layers::mask::{AttentionMask, MaskSpec};
use glmtune::model::layers::ops::attention::{
    AttentionInput, AttentionOps, AttentionOutput, AttentionScale,
};

use crate::common::software_cuda::{capability, is_there, run_there};
use crate::tensors::{Cpu, Cuda, assert_near, tensor, values};

/// Batch, queries, keys, heads, groups and dimension of a head; the prefix, and whether later keys are hidden.
type Case = ([usize; 6], usize, bool);

/// Fewer and more rows and keys than a tile has, a single query, a dimension that tensor cores do not suit.
const CASES: [Case; 6] = [
    ([2, 20, 40, 2, 1, 32], 0, true),
    ([2, 50, 61, 4, 2, 16], 7, true),
    ([1, 90, 150, 4, 1, 128], 0, true),
    ([1, 70, 70, 2, 2, 64], 0, false),
    ([1, 1, 200, 4, 2, 64], 0, false),
    ([1, 33, 40, 2, 1, 24], 5, true),
];

fn mask([batch, queries, keys, ..]: [usize; 6], prefix: usize, causal: bool) -> MaskSpec {
    let others = keys - prefix;
    let visible = (0..batch * queries).map(|row| {
        let end = others - queries + row % queries + 1;
        // Padding of another length in each row of the batch.
        let from = (3 * (row / queries)).min(end - 1);
        if causal {
            (from as u32, end as u32)
        } else {
            (0, others as u32)
        }
    });
    MaskSpec {
        prefix,
        keys,
        queries,
        visible: visible.collect(),
    }
}

/// The operands of a case, and the gradient of its result, rounded to a type and computed with in another one.
fn operands<B: Backend>(
    (sizes, prefix, causal): Case,
    dtype: DType,
    computed: DType,
) -> (AttentionInput<B>, FloatTensor<B>) {
    let [batch, queries, keys, heads, groups, head_dim] = sizes;
    let query = [batch, queries, heads, head_dim];
    let key = [batch, keys, groups, head_dim];
    let operand = |shape, seed| {
        let values = tensor::<B, 4>(shape, seed) * 4.0;
        values.cast(dtype).cast(computed).into_primitive().tensor()
    };
    let input = AttentionInput {
        query: operand(query, 1),
        key: operand(key, 2),
        value: operand(key, 3),
        mask: AttentionMask::new(mask(sizes, prefix, causal), &B::Device::default()),
        scale: AttentionScale::new(head_dim, 2.0),
    };
    (input, operand(query, 4))
}

fn wrapped<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// A tensor of the CUDA backend in float32 on the CPU.
fn on_cpu<const D: usize>(primitive: FloatTensor<Cuda>) -> FloatTensor<Cpu> {
    let data = wrapped::<Cuda, D>(primitive).cast(DType::F32).into_data();
    let tensor = Tensor::<Cpu, D>::from_data(data, &Default::default());
    tensor.into_primitive().tensor()
}

fn compare(case: Case, dtype: DType, tolerance: f32) {
    let (input, grad) = operands::<Cuda>(case, dtype, dtype);
    let (cpu_input, cpu_grad) = operands::<Cpu>(case, dtype, DType::F32);
    let output = Cuda::glm_attention(input.clone());
    let cpu_output = Cpu::glm_attention(cpu_input.clone());
    // Both backward passes get the result of the kernel, since its rounding counts where terms of a gradient cancel.
    let kept = AttentionOutput::<Cpu> {
        output: on_cpu::<4>(output.output.clone()),
        log_sum_exp: on_cpu::<3>(output.log_sum_exp.clone()),
    };
    let near = |of: &str, found: Vec<f32>, expected: Vec<f32>| {
        assert_near(&format!("{case:?}, {of}"), &found, &expected, tolerance);
    };
    let wide = |primitive| values(wrapped::<Cuda, 4>(primitive));
    let cpu_wide = |primitive| values(wrapped::<Cpu, 4>(primitive));
    near(
        "result",
        wide(output.output.clone()),
        cpu_wide(cpu_output.output),
    );
    near(
        "logarithms of the sums",
        values(wrapped::<Cpu, 3>(kept.log_sum_exp.clone())),
        values(wrapped::<Cpu, 3>(cpu_output.log_sum_exp)),
    );
    let found = Cuda::glm_attention_backward(input, output, grad);
    let expected = Cpu::glm_attention_backward(cpu_input, kept, cpu_grad);
    near("gradient of queries", wide(found.0), cpu_wide(expected.0));
    near("gradient of keys", wide(found.1), cpu_wide(expected.1));
    near("gradient of values", wide(found.2), cpu_wide(expected.2));
}

fn on_both(test: &str, capability: &str, dtype: DType, tolerance: f32) {
    if !is_there() {
        return run_there(&format!("attention::{test}"), capability);
    }
    for case in CASES {
        compare(case, dtype, tolerance);
    }
}

#[test]
fn in_f32() {
    on_both("in_f32", capability::WITH_TF32, DType::F32, 1e-5);
}

/// f16 has ten bits behind the point.
#[test]
fn in_f16() {
    on_both("in_f16", capability::WITH_TF32, DType::F16, 2e-3);
}

/// bf16 has seven bits behind the point.
#[test]
fn in_bf16() {
    on_both("in_bf16", capability::WITH_TF32, DType::BF16, 8e-3);
}

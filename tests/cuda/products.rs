//! Matrix products: sizes that fill tiles and such that do not, transposed operands, batches.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::common::software_cuda::{capability, is_there, run_there};
use crate::tensors::{Cpu, Cuda, assert_near, tensor, values};

/// Rows, inner size and columns.
type Sizes = (usize, usize, usize);

const SIZES: [Sizes; 9] = [
    (1, 64, 64),
    (7, 64, 64),
    (64, 64, 64),
    (134, 64, 128),
    (33, 17, 65),
    (134, 16, 134),
    (2, 8, 64),
    (100, 8, 128),
    (300, 200, 100),
];

/// The products of a size: plain, with either operand transposed, of batches that are contiguous or not. Operands are
/// numbers of one type, multiplied in another.
fn products<B: Backend>(
    (m, k, n): Sizes,
    dtype: DType,
    compute: DType,
) -> Vec<(&'static str, Vec<f32>)> {
    let matrix = |rows, columns, seed| {
        let matrix = tensor::<B, 2>([rows, columns], seed);
        matrix.cast(dtype).cast(compute)
    };
    let batch = |shape, seed| -> Tensor<B, 4> {
        let batch = tensor::<B, 4>(shape, seed);
        batch.cast(dtype).cast(compute)
    };
    let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
    let (a_turned, b_turned) = (matrix(k, m, 3).transpose(), matrix(n, k, 4).transpose());
    let turned = batch([2, 3, n, k], 6).swap_dims(2, 3);
    let left = batch([2, m, 3, k], 7).swap_dims(1, 2);
    let right = batch([2, n, 3, k], 8).swap_dims(1, 2).swap_dims(2, 3);
    vec![
        ("plain", values(a.clone().matmul(b.clone()))),
        ("right transposed", values(a.matmul(b_turned.clone()))),
        ("left transposed", values(a_turned.clone().matmul(b))),
        ("both transposed", values(a_turned.matmul(b_turned))),
        ("batch", values(batch([2, 3, m, k], 5).matmul(turned))),
        ("heads", values(left.matmul(right))),
    ]
}

fn on_both(test: &str, capability: &str, dtype: DType, tolerance: f32) {
    if !is_there() {
        return run_there(&format!("products::{test}"), capability);
    }
    for sizes in SIZES {
        let found = products::<Cuda>(sizes, dtype, dtype).into_iter();
        for ((name, found), (_, expected)) in found.zip(products::<Cpu>(sizes, dtype, DType::F32)) {
            assert_near(&format!("{sizes:?}, {name}"), &found, &expected, tolerance);
        }
    }
}

#[test]
fn in_f32() {
    on_both("in_f32", capability::WITHOUT_TF32, DType::F32, 2e-6);
}

/// TF32 has ten bits behind the point.
#[test]
fn in_tf32() {
    on_both("in_tf32", capability::WITH_TF32, DType::F32, 2e-3);
}

#[test]
fn in_f16() {
    on_both("in_f16", capability::WITH_TF32, DType::F16, 2e-3);
}

/// bf16 has seven bits behind the point.
#[test]
fn in_bf16() {
    on_both("in_bf16", capability::WITH_TF32, DType::BF16, 8e-3);
}

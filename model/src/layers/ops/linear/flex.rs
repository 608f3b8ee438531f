//! Products with a weight of `[out, in]`.
//!
//! Few rows (generation) are bound by reading the weight: one scalar product per output, 16-bit weights
//! widened in registers' reach. Some (generation in batches) meet each line of the weight together. Many go to `gemm`;
//! 16-bit weights are widened a panel at a time, so that no float32 copy of a weight ever exists.

use burn::tensor::{Shape, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::LinearOps;
use super::lines::{self, Weight};
use super::panel::{FEW_ROWS, SOME_ROWS, backward_panel, forward_panel, sum_panel};
use super::sizes::Sizes;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::simd::{dot, simd};
use crate::layers::ops::flex::values::{Halves, Shared, Values, from_vec};

impl LinearOps for Flex {
    fn glm_linear(x: Float, weight: Float, bias: Option<Float>) -> Float {
        linear(x, weight, bias)
    }

    fn glm_linear_backward_input(grad: Float, weight: Float) -> Float {
        backward_input(grad, weight)
    }
}

/// Outputs per task of scalar products.
const OUTPUTS: usize = 64;

/// See [`LinearOps::glm_linear`](super::LinearOps::glm_linear).
pub fn linear(x: Float, weight: Float, bias: Option<Float>) -> Float {
    let dtype = x.dtype();
    let weight = weight.to_contiguous();
    let sizes = Sizes {
        rows: x.shape()[0],
        input: x.shape()[1],
        output: weight.shape()[0],
    };
    let x = Values::of(x);
    let bias = bias.map(Values::of);
    let mut out = vec![0.0; sizes.rows * sizes.output];
    if sizes.rows > FEW_ROWS {
        match Weight::of(&weight) {
            weight if sizes.rows <= SOME_ROWS => lines::product(&x, weight, sizes, &mut out),
            Weight::Halves(halves) => panels(&x, halves, sizes, &mut out),
            Weight::Floats(floats) => product(&x, floats, sizes, &mut out),
        }
        if let Some(bias) = bias {
            add_bias(&mut out, &bias);
        }
    } else {
        scalar_products(&x, &weight, bias.as_deref(), sizes, &mut out);
    }
    from_vec(out, Shape::new([sizes.rows, sizes.output]), dtype)
}

fn add_bias(out: &mut [f32], bias: &[f32]) {
    let rows = out.par_chunks_mut(bias.len().max(1));
    rows.for_each(|row| add_row(row, bias));
}

simd! {
fn add_row(row: &mut [f32], bias: &[f32]) {
    for (out, bias) in row.iter_mut().zip(bias) {
        *out += bias;
    }
}
}

simd! {
fn scalar_product(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}
}

/// `out = x · weightᵀ` in float32.
fn product(x: &[f32], weight: &[f32], sizes: Sizes, out: &mut [f32]) {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    debug_assert!(x.len() == rows * input && weight.len() == output * input);
    // SAFETY: the strides below walk exactly the `rows·input`, `output·input` and `rows·output`
    // elements of the three slices.
    unsafe {
        gemm::gemm(
            rows,
            output,
            input,
            out.as_mut_ptr(),
            1,
            output as isize,
            false,
            x.as_ptr(),
            1,
            input as isize,
            weight.as_ptr(),
            input as isize,
            1,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            sizes.parallelism(),
        );
    }
}

/// `out = x · weightᵀ`, the weight widened a panel of outputs at a time.
fn panels(x: &[f32], weight: Halves<'_>, sizes: Sizes, out: &mut [f32]) {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    let height = forward_panel(input, output);
    let shared = Shared::new(out);
    (0..output.div_ceil(height))
        .into_par_iter()
        .for_each(|index| {
            let from = index * height;
            let height = height.min(output - from);
            let mut panel = vec![0.0; height * input];
            weight.widen_into(from * input, &mut panel);
            // SAFETY: this task writes columns `from … from + height` of every row of `out`, which no
            // other task touches; the strides stay within the slices.
            unsafe {
                gemm::gemm(
                    rows,
                    height,
                    input,
                    shared.at(from),
                    1,
                    output as isize,
                    false,
                    x.as_ptr(),
                    1,
                    input as isize,
                    panel.as_ptr(),
                    input as isize,
                    1,
                    0.0f32,
                    1.0f32,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        });
}

/// One scalar product per row and output.
fn scalar_products(
    x: &[f32],
    weight: &FlexTensor,
    bias: Option<&[f32]>,
    sizes: Sizes,
    out: &mut [f32],
) {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    let halves = Halves::of(weight);
    let shared = Shared::new(out);
    let task = |index: usize| {
        let mut buffer = vec![0.0; if halves.is_some() { input } else { 0 }];
        for column in index * OUTPUTS..output.min((index + 1) * OUTPUTS) {
            let line: &[f32] = match halves {
                Some(halves) => {
                    halves.widen_into(column * input, &mut buffer);
                    &buffer
                }
                None => &weight.storage::<f32>()[column * input..(column + 1) * input],
            };
            let start = bias.map_or(0.0, |bias| bias[column]);
            for row in 0..rows {
                let x = &x[row * input..(row + 1) * input];
                let value = start + scalar_product(x, line);
                // SAFETY: within `out`, and no other task has this column.
                unsafe { *shared.at(row * output + column) = value };
            }
        }
    };
    sizes.for_each(output.div_ceil(OUTPUTS), task);
}

/// `grad · weight`: see
/// [`LinearOps::glm_linear_backward_input`](super::LinearOps::glm_linear_backward_input).
pub fn backward_input(grad: Float, weight: Float) -> Float {
    let dtype = grad.dtype();
    let weight = weight.to_contiguous();
    let sizes = Sizes {
        rows: grad.shape()[0],
        input: weight.shape()[1],
        output: weight.shape()[0],
    };
    let grad = Values::of(grad);
    let mut out = vec![0.0; sizes.rows * sizes.input];
    match Halves::of(&weight) {
        None => accumulate(&grad, 0, weight.storage(), sizes, &mut out),
        Some(halves) => {
            let height = backward_panel(sizes.input, sizes.output);
            for from in (0..sizes.output).step_by(height) {
                let height = height.min(sizes.output - from);
                let mut panel = vec![0.0; height * sizes.input];
                halves.widen_into(from * sizes.input, &mut panel);
                accumulate(&grad, from, &panel, sizes, &mut out);
            }
        }
    }
    from_vec(out, Shape::new([sizes.rows, sizes.input]), dtype)
}

/// `sum[out, in] += gradᵀ · x`, in float32.
///
/// A task has a range of outputs.
pub fn add_weight_gradient(sum: &mut [f32], grad: Float, x: Float) {
    let sizes = Sizes {
        rows: grad.shape()[0],
        input: x.shape()[1],
        output: grad.shape()[1],
    };
    let (grad, x) = (Values::of(grad), Values::of(x));
    let height = sum_panel(sizes.rows, sizes.output);
    let panels = sum.par_chunks_mut((height * sizes.input).max(1));
    panels.enumerate().for_each(|(index, sum)| {
        let from = index * height;
        // SAFETY: this range of outputs ends where `sum` does, within the `output` columns of the
        // gradient; the strides walk `rows` rows of both factors.
        unsafe {
            gemm::gemm(
                sum.len() / sizes.input,
                sizes.input,
                sizes.rows,
                sum.as_mut_ptr(),
                1,
                sizes.input as isize,
                true,
                grad.as_ptr().add(from),
                sizes.output as isize,
                1,
                x.as_ptr(),
                1,
                sizes.input as isize,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    });
}

/// `out += grad[:, from … from + height] · panel`, where `panel` is `[height, input]`.
fn accumulate(grad: &[f32], from: usize, panel: &[f32], sizes: Sizes, out: &mut [f32]) {
    let height = panel.len() / sizes.input.max(1);
    // SAFETY: `from + height` is at most `output`, so the strides stay within the slices.
    unsafe {
        gemm::gemm(
            sizes.rows,
            sizes.input,
            height,
            out.as_mut_ptr(),
            1,
            sizes.input as isize,
            true,
            grad.as_ptr().add(from),
            1,
            sizes.output as isize,
            panel.as_ptr(),
            1,
            sizes.input as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            sizes.parallelism(),
        );
    }
}

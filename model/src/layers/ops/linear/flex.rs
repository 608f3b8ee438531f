//! Products with a weight of `[out, in]`.
//!
//! Some rows (generation) meet each line of the weight together, 16-bit ones as they are stored where reading them is
//! what takes the time. Many meet columns of it that are packed, on a processor with AVX-512; on others they go to
//! `gemm`, for which 16-bit weights are widened a panel at a time, so that no float32 copy of a weight ever exists.

use burn::tensor::{Bytes, DType, Element, Shape, TensorMetadata};
use burn_flex::{Flex, FlexTensor, Layout};
use half::{bf16, f16};
use rayon::prelude::*;

use super::LinearOps;
use super::lines::{self, Weight};
use super::pairs;
use super::panel::{SOME_ROWS, backward_panel, forward_panel, sum_panel};
use super::second::Second;
use super::sizes::Sizes;
use super::tiles;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::products::Number;
use crate::layers::ops::flex::simd::simd;
use crate::layers::ops::flex::values::{Halves, Shared, Values, from_vec};

impl LinearOps for Flex {
    fn glm_linear(x: Float, weight: Float, bias: Option<Float>) -> Float {
        linear(x, weight, bias)
    }

    fn glm_linear_backward_input(grad: Float, weight: Float) -> Float {
        backward_input(grad, weight)
    }

    fn glm_linear_backward_weight(grad: Float, x: Float) -> Float {
        backward_weight(grad, x)
    }
}

/// See [`LinearOps::glm_linear`](super::LinearOps::glm_linear).
pub fn linear(x: Float, weight: Float, bias: Option<Float>) -> Float {
    let dtype = x.dtype();
    let weight = weight.to_contiguous();
    let sizes = Sizes {
        rows: x.shape()[0],
        input: x.shape()[1],
        output: weight.shape()[0],
    };
    let bias = bias.map(Values::of);
    if sizes.rows > SOME_ROWS {
        let dims = [sizes.rows, sizes.input, sizes.output];
        if let Some(out) = by_columns(&x, &weight, true, bias.as_deref(), dims) {
            return out;
        }
    }
    let x = Values::of(x);
    let mut out = match Weight::of(&weight) {
        weight if sizes.rows <= SOME_ROWS => lines::product(&x, weight, sizes),
        Weight::Halves(halves) => panels(&x, halves, sizes),
        Weight::Floats(floats) => product(&x, floats, sizes),
    };
    if let Some(bias) = bias {
        add_bias(&mut out, &bias);
    }
    from_vec(out, Shape::new([sizes.rows, sizes.output]), dtype)
}

/// The product of two tensors of one type from columns of the second that are packed, if the processor is one for
/// which that is written; the second is contiguous, and `[columns, depth]` if it is turned.
fn by_columns(
    first: &Float,
    second: &FlexTensor,
    is_turned: bool,
    bias: Option<&[f32]>,
    dims: [usize; 3],
) -> Option<Float> {
    if first.dtype() != second.dtype() {
        return None;
    }
    let first = first.to_contiguous();
    match first.dtype() {
        DType::F32 => product_of::<f32>(&first, second, is_turned, dims, |first, second| {
            tiles::product(first, second, bias, dims)
        }),
        DType::F16 => product_of::<f16>(&first, second, is_turned, dims, |first, second| {
            tiles::product(first, second, bias, dims)
        }),
        DType::BF16 => product_of::<bf16>(&first, second, is_turned, dims, |first, second| {
            pairs::product(first, second, bias, dims)
                .or_else(|| tiles::product(first, second, bias, dims))
        }),
        _ => None,
    }
}

/// The product of two contiguous tensors of a type, computed by `multiply`.
fn product_of<N: Number + Element + bytemuck::Pod>(
    first: &FlexTensor,
    second: &FlexTensor,
    is_turned: bool,
    dims: [usize; 3],
    multiply: impl FnOnce(&[N], Second<'_, N>) -> Option<Vec<N>>,
) -> Option<Float> {
    let numbers: &[N] = second.storage();
    let second = match is_turned {
        true => Second::Turned(numbers),
        false => Second::Plain(numbers),
    };
    Some(matrix(multiply(first.storage(), second)?, dims))
}

/// The result of a product.
fn matrix<N: Element + bytemuck::Pod>(numbers: Vec<N>, [rows, _, columns]: [usize; 3]) -> Float {
    let layout = Layout::contiguous(Shape::new([rows, columns]));
    FlexTensor::new(Bytes::from_elems(numbers), layout, N::dtype())
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

/// `x · weightᵀ` in float32.
fn product(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    assert!(x.len() == rows * input && weight.len() == output * input);
    let mut out = Vec::with_capacity(rows * output);
    // SAFETY: the strides below walk exactly the `rows·input` and `output·input` elements of the slices and the
    // `rows·output` that there is room for, which the product writes and does not read.
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
        out.set_len(rows * output);
    }
    out
}

/// `x · weightᵀ`, the weight widened a panel of outputs at a time.
fn panels(x: &[f32], weight: Halves<'_>, sizes: Sizes) -> Vec<f32> {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    let height = forward_panel(input, output);
    let mut out = Vec::with_capacity(rows * output);
    let shared = Shared::room(&mut out);
    (0..output.div_ceil(height))
        .into_par_iter()
        .for_each(|index| {
            let from = index * height;
            let height = height.min(output - from);
            let mut panel = vec![0.0; height * input];
            weight.widen_into(from * input, &mut panel);
            // SAFETY: this task writes columns `from … from + height` of every row of `out`, which no
            // other task touches; the strides stay within the slices and within what there is room for.
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
    // SAFETY: the tasks have written all columns of all rows.
    unsafe { out.set_len(rows * output) };
    out
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
    let dims = [sizes.rows, sizes.output, sizes.input];
    if let Some(out) = by_columns(&grad, &weight, false, None, dims) {
        return out;
    }
    let grad = Values::of(grad);
    let mut out = Vec::with_capacity(sizes.rows * sizes.input);
    match Halves::of(&weight) {
        None => accumulate(&grad, 0, weight.storage(), sizes, &mut out),
        Some(halves) => {
            let height = backward_panel(sizes.input, sizes.output);
            let mut panel = vec![0.0; height * sizes.input];
            for from in (0..sizes.output).step_by(height) {
                let height = height.min(sizes.output - from);
                let panel = &mut panel[..height * sizes.input];
                widen_panel(halves, from * sizes.input, panel);
                accumulate(&grad, from, panel, sizes, &mut out);
            }
        }
    }
    from_vec(out, Shape::new([sizes.rows, sizes.input]), dtype)
}

/// `gradᵀ · x`: see
/// [`LinearOps::glm_linear_backward_weight`](super::LinearOps::glm_linear_backward_weight).
pub fn backward_weight(grad: Float, x: Float) -> Float {
    let dtype = grad.dtype();
    let sizes = Sizes {
        rows: grad.shape()[0],
        input: x.shape()[1],
        output: grad.shape()[1],
    };
    let elements = sizes.output * sizes.input;
    let mut out = Vec::with_capacity(elements);
    // SAFETY: there is room for all sums, which are written and not read.
    unsafe {
        weight_gradient(Shared::room(&mut out), false, grad, x, sizes);
        out.set_len(elements);
    }
    from_vec(out, Shape::new([sizes.output, sizes.input]), dtype)
}

/// `sum[out, in] += gradᵀ · x`, in float32.
pub fn add_weight_gradient(sum: &mut [f32], grad: Float, x: Float) {
    let sizes = Sizes {
        rows: grad.shape()[0],
        input: x.shape()[1],
        output: grad.shape()[1],
    };
    assert!(sum.len() == sizes.output * sizes.input);
    // SAFETY: all sums are there.
    unsafe { weight_gradient(Shared::new(sum), true, grad, x, sizes) };
}

/// `sum[out, in] = gradᵀ · x`, added to what is there if it `adds`.
///
/// # Safety
/// There must be room for `out·in` sums, which must have been written if it adds to them.
unsafe fn weight_gradient(sum: Shared, adds: bool, grad: Float, x: Float, sizes: Sizes) {
    // SAFETY: the caller's promise.
    unsafe {
        let is_done = grad.dtype() == x.dtype()
            && match grad.dtype() {
                DType::F32 => sum_by_tiles::<f32>(sum, adds, &grad, &x, sizes),
                DType::F16 => sum_by_tiles::<f16>(sum, adds, &grad, &x, sizes),
                DType::BF16 => sum_by_tiles::<bf16>(sum, adds, &grad, &x, sizes),
                _ => false,
            };
        if !is_done {
            sum_by_panels(sum, adds, &Values::of(grad), &Values::of(x), sizes);
        }
    }
}

/// [`weight_gradient`] of factors that are widened as they are packed, if the processor is one for which that is written.
///
/// # Safety
/// As there.
unsafe fn sum_by_tiles<N: Number + Element + bytemuck::Pod>(
    sum: Shared,
    adds: bool,
    grad: &Float,
    x: &Float,
    sizes: Sizes,
) -> bool {
    let (grad, x) = (grad.to_contiguous(), x.to_contiguous());
    let dims = [sizes.output, sizes.rows, sizes.input];
    // SAFETY: the caller's promise.
    unsafe { tiles::sum::<N>(sum, adds, grad.storage(), x.storage(), dims) }
}

/// [`weight_gradient`] in float32. A task has a range of outputs.
///
/// # Safety
/// As there.
unsafe fn sum_by_panels(sum: Shared, adds: bool, grad: &[f32], x: &[f32], sizes: Sizes) {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    assert!(grad.len() == rows * output && x.len() == rows * input);
    let height = sum_panel(rows, output);
    let task = |index: usize| {
        let from = index * height;
        // SAFETY: this range of outputs ends within the `output` columns of the gradient, and its sums are this task's
        // alone; the strides walk `rows` rows of both factors.
        unsafe {
            gemm::gemm(
                height.min(output - from),
                input,
                rows,
                sum.at(from * input),
                1,
                input as isize,
                adds,
                grad.as_ptr().add(from),
                output as isize,
                1,
                x.as_ptr(),
                1,
                input as isize,
                if adds { 1.0f32 } else { 0.0 },
                1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    sizes.for_each(output.div_ceil(height), task);
}

/// Elements that one task widens.
const CHUNK: usize = 1 << 14;

fn widen_panel(halves: Halves<'_>, from: usize, panel: &mut [f32]) {
    let chunks = panel.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(index, chunk)| halves.widen_into(from + index * CHUNK, chunk));
}

/// `out += grad[:, from … from + height] · panel`, where `panel` is `[height, input]`; the first fills `out`.
fn accumulate(grad: &[f32], from: usize, panel: &[f32], sizes: Sizes, out: &mut Vec<f32>) {
    let Sizes {
        rows,
        input,
        output,
    } = sizes;
    let height = panel.len() / input.max(1);
    let adds = from > 0;
    assert!(grad.len() == rows * output && from + height <= output);
    assert!(out.capacity() >= rows * input && out.len() == if adds { rows * input } else { 0 });
    // SAFETY: by the lengths above, the strides stay within the slices and within what there is room for; where the
    // product does not add to what is there, it writes all and reads nothing.
    unsafe {
        gemm::gemm(
            rows,
            input,
            height,
            out.as_mut_ptr(),
            1,
            input as isize,
            adds,
            grad.as_ptr().add(from),
            1,
            output as isize,
            panel.as_ptr(),
            1,
            input as isize,
            if adds { 1.0f32 } else { 0.0 },
            1.0f32,
            false,
            false,
            false,
            sizes.parallelism(),
        );
        out.set_len(rows * input);
    }
}

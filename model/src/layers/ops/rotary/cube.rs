//! Rotary embedding in one launch: every unit turns a vector of a head.

// Kernels know no such method of integers.
#![allow(clippy::manual_is_multiple_of)]

use burn::tensor::TensorMetadata;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{Direction, RotaryOps, RotaryPairs, default};
use crate::layers::ops::cube::{empty, fused, units, vector_size};

impl<R, F, I, BT> RotaryOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_rotary(
        x: CubeTensor<R>,
        cos: CubeTensor<R>,
        sin: CubeTensor<R>,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> CubeTensor<R> {
        match fused(&[&x, &cos, &sin]) {
            true => rotary(x, cos, sin, pairs, direction),
            false => default::rotary::<Self>(x, cos, sin, pairs, direction),
        }
    }
}

fn rotary<R: CubeRuntime>(
    x: CubeTensor<R>,
    cos: CubeTensor<R>,
    sin: CubeTensor<R>,
    pairs: RotaryPairs,
    direction: Direction,
) -> CubeTensor<R> {
    let (client, dtype, shape, table) = (x.client.clone(), x.dtype, x.shape(), cos.shape());
    let out = empty(&x, shape.clone(), dtype);
    let [tokens, heads, head_dim] = [shape[1], shape[2], shape[3]];
    // The partners of a vector's elements are a vector: itself, or another one of the same head.
    let vector = match pairs {
        RotaryPairs::Interleaved => vector_size(&[&x, &out], head_dim),
        RotaryPairs::TwoHalves => vector_size(&[&x, &out], head_dim / 4),
    };
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let sign = match direction {
        Direction::Forward => 1.0f32,
        Direction::Inverse => -1.0,
    };
    // A table of one row serves all of the batch.
    let table_rows = if table[0] == 1 {
        tokens
    } else {
        tokens * shape[0]
    };
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        rotary_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            cos.into_linear_view(),
            sin.into_linear_view(),
            out.clone().into_linear_view(),
            heads,
            head_dim,
            table_rows,
            table[2],
            sign,
            pairs == RotaryPairs::Interleaved,
            dtype.into(),
        );
    }
    out
}

/// `table_rows`: tokens that the table has, `pairs`: angles of each.
#[cube(launch_unchecked)]
fn rotary_kernel<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    heads: usize,
    head_dim: usize,
    table_rows: usize,
    pairs: usize,
    sign: f32,
    #[comptime] interleaved: bool,
    #[define(F)] _dtype: StorageType,
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let head = ABSOLUTE_POS * N::value() / head_dim;
    let first = ABSOLUTE_POS * N::value() % head_dim;
    let row = head / heads % table_rows * pairs;
    let own = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]);
    if comptime!(interleaved) {
        out[ABSOLUTE_POS] = Vector::cast_from(turn_interleaved::<F, N>(
            x, own, cos, sin, first, row, pairs, sign,
        ));
    } else {
        let quarter = head_dim / 4;
        let leads = first / quarter % 2 == 0;
        let partner = select(
            leads,
            ABSOLUTE_POS + quarter / N::value(),
            ABSOLUTE_POS - quarter / N::value(),
        );
        let other = Vector::<f32, N>::cast_from(x[partner]);
        let sign = select(leads, f32::new(0.0) - sign, sign);
        let angle = row + first / (2 * quarter) * quarter + first % quarter;
        let mut turned = Vector::<f32, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            turned[lane] = own[lane] * cos[angle + lane] + sign * other[lane] * sin[angle + lane];
        }
        out[ABSOLUTE_POS] = Vector::cast_from(turned);
    }
}

/// Pairs of neighbours; what is beyond the pairs of the table passes.
#[cube]
fn turn_interleaved<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    own: Vector<f32, N>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    first: usize,
    row: usize,
    pairs: usize,
    sign: f32,
) -> Vector<f32, N> {
    let vector = N::value();
    let mut turned = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..vector {
        let place = first + lane;
        let turns = place < 2 * pairs;
        let leads = place % 2 == 0;
        let other = if comptime!(vector == 1) {
            let partner = select(leads, ABSOLUTE_POS + 1, ABSOLUTE_POS - 1);
            let partner = Vector::<f32, N>::cast_from(x[select(turns, partner, ABSOLUTE_POS)]);
            partner[0]
        } else {
            own[comptime!(lane ^ 1)]
        };
        let sine_sign = select(leads, f32::new(0.0) - sign, sign);
        let angle = select(turns, row + place / 2, row);
        let value = own[lane] * cos[angle] + sine_sign * other * sin[angle];
        turned[lane] = select(turns, value, own[lane]);
    }
    turned
}

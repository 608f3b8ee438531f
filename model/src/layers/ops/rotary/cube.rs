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
    let (client, dtype, shape) = (x.client.clone(), x.dtype, x.shape());
    let out = empty(&x, shape.clone(), dtype);
    let [heads, head_dim] = [shape[2], shape[3]];
    let vector = vector_size(&[&x, &out], lanes(pairs, head_dim));
    let (count, dim) = units(&client, shape.num_elements() / vector);
    let turn = TurnLaunch::of(&cos.shape(), shape[0], direction);
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
            turn,
            pairs == RotaryPairs::Interleaved,
            dtype.into(),
        );
    }
    out
}

/// A number of elements of which a vector has a part: the partners of its elements are then a vector, itself or another
/// one of the same head.
pub(in crate::layers::ops) fn lanes(pairs: RotaryPairs, head_dim: usize) -> usize {
    match pairs {
        RotaryPairs::Interleaved => head_dim,
        RotaryPairs::TwoHalves => head_dim / 4,
    }
}

/// A table of angles, and which way to turn.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in crate::layers::ops) struct Turn {
    /// Tokens that the table has.
    rows: usize,
    /// Angles of each.
    pairs: usize,
    sign: f32,
}

impl<R: CubeRuntime> TurnLaunch<R> {
    /// By a table of a shape, for so many rows of a batch, all of which a table of one row serves.
    pub(in crate::layers::ops) fn of(table: &[usize], batch: usize, direction: Direction) -> Self {
        let rows = if table[0] == 1 { 1 } else { batch };
        let sign = match direction {
            Direction::Forward => 1.0f32,
            Direction::Inverse => -1.0,
        };
        Self::new(rows * table[1], table[2], sign)
    }
}

#[cube(launch_unchecked)]
fn rotary_kernel<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    heads: usize,
    head_dim: usize,
    turn: Turn,
    #[comptime] interleaved: bool,
    #[define(F)] _dtype: StorageType,
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let head = ABSOLUTE_POS * N::value() / head_dim;
    let first = ABSOLUTE_POS * N::value() % head_dim;
    out[ABSOLUTE_POS] = Vector::cast_from(turned::<F, N>(
        x,
        ABSOLUTE_POS,
        first,
        head / heads,
        head_dim,
        cos,
        sin,
        &turn,
        interleaved,
    ));
}

/// The vector at a place, turned: that of a head from its element `first` on, of a token.
#[cube]
pub(in crate::layers::ops) fn turned<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    place: usize,
    first: usize,
    token: usize,
    head_dim: usize,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    turn: &Turn,
    #[comptime] interleaved: bool,
) -> Vector<f32, N> {
    let row = token % turn.rows * turn.pairs;
    let own = Vector::<f32, N>::cast_from(x[place]);
    if comptime!(interleaved) {
        turn_interleaved::<F, N>(x, place, own, cos, sin, first, row, turn)
    } else {
        let quarter = head_dim / 4;
        let leads = first / quarter % 2 == 0;
        let partner = select(
            leads,
            place + quarter / N::value(),
            place - quarter / N::value(),
        );
        let other = Vector::<f32, N>::cast_from(x[partner]);
        let sign = select(leads, f32::new(0.0) - turn.sign, turn.sign);
        let angle = row + first / (2 * quarter) * quarter + first % quarter;
        let mut turned = Vector::<f32, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            turned[lane] = own[lane] * cos[angle + lane] + sign * other[lane] * sin[angle + lane];
        }
        turned
    }
}

/// Pairs of neighbours; what is beyond the pairs of the table passes.
#[cube]
fn turn_interleaved<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    at: usize,
    own: Vector<f32, N>,
    cos: &LinearView<f32>,
    sin: &LinearView<f32>,
    first: usize,
    row: usize,
    turn: &Turn,
) -> Vector<f32, N> {
    let vector = N::value();
    let mut turned = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..vector {
        let place = first + lane;
        let turns = place < 2 * turn.pairs;
        let leads = place % 2 == 0;
        let other = if comptime!(vector == 1) {
            let partner = select(leads, at + 1, at - 1);
            let partner = Vector::<f32, N>::cast_from(x[select(turns, partner, at)]);
            partner[0]
        } else {
            own[comptime!(lane ^ 1)]
        };
        let sine_sign = select(leads, f32::new(0.0) - turn.sign, turn.sign);
        let angle = select(turns, row + place / 2, row);
        let value = own[lane] * cos[angle] + sine_sign * other * sin[angle];
        turned[lane] = select(turns, value, own[lane]);
    }
    turned
}

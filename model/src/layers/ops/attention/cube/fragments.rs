//! Tiles on tensor cores: what a plane does with its sixteen rows of one.
//!
//! Operands lie in shared memory in their 16-bit type; products are summed in float32, in fragments of 16 × 16
//! elements that a plane holds together. Where an element of a fragment lies in the plane is the device's own, so
//! that what is done with single scores goes through a scratch memory, in which each plane has its own rows.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::cubecl;
use cubecl::cmma::{Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::tile::{PLANE, SIDE, Tile};

/// The first row of the plane of this unit.
#[cube]
pub fn first_own_row() -> usize {
    (UNIT_POS / PLANE) as usize * SIDE
}

/// Sums for so many fragments.
#[cube]
pub fn zero_fragments(#[comptime] count: usize) -> Sequence<Matrix<f32>> {
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..count {
        sums.push(Matrix::<f32>::from_value(
            MatrixIdent::Accumulator,
            SIDE,
            SIDE,
            SIDE,
            MatrixLayout::Undefined,
            f32::new(0.0),
        ));
    }
    sums
}

/// The products of the plane's rows with all keys, `rows · keysᵀ`, to the scratch memory.
#[cube]
pub fn fragment_products<F: Float, N: Size>(
    rows: &SharedMemory<Vector<F, N>>,
    keys: &SharedMemory<Vector<F, N>>,
    scratch: &mut SharedMemory<f32>,
    #[comptime] tile: Tile,
) {
    let own = first_own_row();
    let pitch = comptime!(tile.pitch());
    let step = comptime!(SIDE / tile.lanes);
    let blocks = comptime!(tile.keys() / SIDE);
    let stride = comptime!((tile.pitch() * tile.lanes) as u32);
    // SAFETY: both are loaded before they are used.
    let left = unsafe {
        Matrix::<F>::uninitialized(MatrixIdent::A, SIDE, SIDE, SIDE, MatrixLayout::RowMajor)
    };
    // SAFETY: as above.
    let right = unsafe {
        Matrix::<F>::uninitialized(MatrixIdent::B, SIDE, SIDE, SIDE, MatrixLayout::ColMajor)
    };
    let sums = zero_fragments(blocks);
    #[unroll]
    for column in 0..comptime!(tile.fragments()) {
        let start = own * pitch + comptime!(column * step);
        cubecl::cmma::load(&left, &rows.slice(start, start + step), stride);
        #[unroll]
        for block in 0..blocks {
            let start = comptime!(block * SIDE * pitch + column * step).runtime();
            cubecl::cmma::load(&right, &keys.slice(start, start + step), stride);
            let sum = sums.index(block);
            cubecl::cmma::execute::<F, F, f32, f32>(&left, &right, sum, sum);
        }
    }
    #[unroll]
    for block in 0..blocks {
        let start = own * comptime!(tile.score_pitch()) + comptime!(block * SIDE);
        cubecl::cmma::store(
            &mut scratch.slice_mut(start, start + SIDE),
            sums.index(block),
            comptime!(tile.score_pitch() as u32),
            MatrixLayout::RowMajor,
        );
    }
}

/// Adds `weights · lines` to the sums of the plane's sixteen rows of the result. `transposed`: `weightsᵀ · lines`.
#[cube]
pub fn add_fragment_products<F: Float, N: Size>(
    weights: &SharedMemory<F>,
    lines: &SharedMemory<Vector<F, N>>,
    sums: &Sequence<Matrix<f32>>,
    #[comptime] transposed: bool,
    #[comptime] tile: Tile,
) {
    let own = first_own_row();
    let pitch = comptime!(tile.pitch());
    let weight_pitch = comptime!(tile.weight_pitch());
    let step = comptime!(SIDE / tile.lanes);
    let stride = comptime!((tile.pitch() * tile.lanes) as u32);
    let layout = comptime!(match transposed {
        true => MatrixLayout::ColMajor,
        false => MatrixLayout::RowMajor,
    });
    let inner = comptime!((if transposed { tile.rows() } else { tile.keys() }) / SIDE);
    // SAFETY: both are loaded before they are used.
    let left = unsafe { Matrix::<F>::uninitialized(MatrixIdent::A, SIDE, SIDE, SIDE, layout) };
    // SAFETY: as above.
    let right = unsafe {
        Matrix::<F>::uninitialized(MatrixIdent::B, SIDE, SIDE, SIDE, MatrixLayout::RowMajor)
    };
    #[unroll]
    for block in 0..inner {
        let mut start = own * weight_pitch + comptime!(block * SIDE);
        if comptime!(transposed) {
            start = own + comptime!(block * SIDE * weight_pitch);
        }
        cubecl::cmma::load(
            &left,
            &weights.slice(start, start + SIDE),
            comptime!(weight_pitch as u32),
        );
        #[unroll]
        for column in 0..comptime!(tile.fragments()) {
            let start = comptime!(block * SIDE * pitch + column * step).runtime();
            cubecl::cmma::load(&right, &lines.slice(start, start + step), stride);
            let sum = sums.index(column);
            cubecl::cmma::execute::<F, F, f32, f32>(&left, &right, sum, sum);
        }
    }
}

/// Multiplies the sums of the plane's rows by a factor, that of a unit's row.
#[cube]
pub fn scale_fragments(
    sums: &Sequence<Matrix<f32>>,
    factor: f32,
    scratch: &mut SharedMemory<f32>,
    #[comptime] tile: Tile,
) {
    let pitch = comptime!(tile.score_pitch());
    let start = first_own_row() * pitch;
    let (half, line) = row_and_half();
    let place = line * pitch + half * comptime!(SIDE / 2);
    #[unroll]
    for column in 0..comptime!(tile.fragments()) {
        let sum = sums.index(column);
        cubecl::cmma::store(
            &mut scratch.slice_mut(start, start + SIDE),
            sum,
            comptime!(pitch as u32),
            MatrixLayout::RowMajor,
        );
        sync_plane();
        #[unroll]
        for element in 0..comptime!(SIDE / 2) {
            let value = scratch[place + element];
            scratch[place + element] = value * factor;
        }
        sync_plane();
        cubecl::cmma::load_with_layout(
            sum,
            &scratch.slice(start, start + SIDE),
            comptime!(pitch as u32),
            MatrixLayout::RowMajor,
        );
        sync_plane();
    }
}

/// Writes a unit's half of its row of each fragment, times a factor, from the vector `start` on; nothing where there
/// is no such row.
#[cube]
pub fn write_fragments<O: Float, N: Size>(
    sums: &Sequence<Matrix<f32>>,
    out: &mut Array<Vector<O, N>>,
    start: usize,
    factor: f32,
    exists: bool,
    scratch: &mut SharedMemory<f32>,
    #[comptime] tile: Tile,
) {
    let pitch = comptime!(tile.score_pitch());
    let first = first_own_row() * pitch;
    let (half, line) = row_and_half();
    let vectors = comptime!(SIDE / 2 / tile.lanes);
    #[unroll]
    for column in 0..comptime!(tile.fragments()) {
        cubecl::cmma::store(
            &mut scratch.slice_mut(first, first + SIDE),
            sums.index(column),
            comptime!(pitch as u32),
            MatrixLayout::RowMajor,
        );
        sync_plane();
        if exists {
            #[unroll]
            for index in 0..vectors {
                let vector = half * vectors + index;
                let mut result = Vector::<f32, N>::empty();
                #[unroll]
                for lane in 0..comptime!(tile.lanes) {
                    result[lane] =
                        scratch[line * pitch + vector * comptime!(tile.lanes) + lane] * factor;
                }
                let place = start + comptime!(column * SIDE / tile.lanes) + vector;
                out[place] = Vector::cast_from(result);
            }
        }
        sync_plane();
    }
}

/// Which half of which row of the tile a unit has.
#[cube]
pub fn row_and_half() -> (usize, usize) {
    let unit = UNIT_POS as usize;
    (unit % 2, unit / 2)
}

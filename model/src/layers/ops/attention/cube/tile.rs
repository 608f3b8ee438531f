//! Tiles of scores: how large they are on a device, and what the units of a cube do with one together.
//!
//! A row is a query of one head. Those of the heads that share keys and values follow one another, head by head, so
//! that a tile of a few queries reads keys and values once for all of these heads.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::cubecl;
use cubecl::ir::HardwareProperties;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::heads::HeadView;

/// Rows and columns of a fragment of tensor cores.
pub const SIDE: usize = 16;

/// Units of a plane of a device with tensor cores.
pub const PLANE: u32 = 32;

/// How the units of a cube share a tile: unit `(x, y)` has the scores of rows `y, y + unit_rows, …` and keys
/// `x, x + unit_keys, …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    pub unit_rows: usize,
    pub rows_each: usize,
    pub unit_keys: usize,
    pub keys_each: usize,
    /// Vectors of a query, key or value.
    pub width: usize,
    /// Elements of a vector.
    pub lanes: usize,
    /// Whether tensor cores make the products: operands stay in their 16-bit type in shared memory, and a plane has
    /// sixteen rows.
    pub tensor_cores: bool,
}

/// Units along rows, rows of each, units along keys, keys of each: the larger a tile, the less often is memory read.
const SHAPES: [[usize; 4]; 11] = [
    [16, 4, 16, 4],
    [16, 2, 16, 4],
    [16, 4, 16, 2],
    [16, 1, 16, 4],
    [16, 2, 16, 2],
    [16, 1, 16, 2],
    [16, 2, 16, 1],
    [16, 1, 16, 1],
    [8, 1, 16, 1],
    [8, 1, 8, 1],
    [4, 1, 4, 1],
];

/// The same for tensor cores: as many keys as rows, of which two units have each.
const TENSOR_CORE_SHAPES: [[usize; 4]; 2] = [[64, 1, 2, 32], [32, 1, 2, 16]];

/// Most elements of a vector without tensor cores: shared memory holds float32, of which it reads four.
const MOST_LANES: usize = 4;

/// Largest dimension of a head on tensor cores: beyond, the sums of a plane do not fit its registers.
const MOST_ELEMENTS: usize = 128;

impl Tile {
    /// The tiles for heads of `head_dim` elements, of which `lanes` can be read at once; the best first.
    pub fn candidates(head_dim: usize, lanes: usize, tensor_cores: bool) -> Vec<Self> {
        let tile = |[unit_rows, rows_each, unit_keys, keys_each]: [usize; 4],
                    lanes: usize,
                    tensor_cores: bool| Self {
            unit_rows,
            rows_each,
            unit_keys,
            keys_each,
            width: head_dim / lanes,
            lanes,
            tensor_cores,
        };
        let suits = tensor_cores && head_dim.is_multiple_of(SIDE) && head_dim <= MOST_ELEMENTS;
        let on_tensor_cores = TENSOR_CORE_SHAPES.into_iter().filter(|_| suits);
        let on_tensor_cores = on_tensor_cores.map(|shape| tile(shape, lanes.min(8), true));
        let others = SHAPES.into_iter();
        let others = others.map(|shape| tile(shape, lanes.min(MOST_LANES), false));
        on_tensor_cores.chain(others).collect()
    }

    /// Whether a device holds its cube, which takes so many bytes of shared memory, and it is not far too large for
    /// an attention of so many rows and keys.
    pub fn fits(
        &self,
        hardware: &HardwareProperties,
        [rows, keys]: [usize; 2],
        bytes: usize,
    ) -> bool {
        let room = |count: usize| count.next_power_of_two().max(SIDE);
        self.units() <= hardware.max_units_per_cube as usize
            && self.rows() <= room(rows)
            && self.keys() <= room(keys).max(if self.tensor_cores { 64 } else { 0 })
            && bytes <= hardware.max_shared_memory_size
    }

    pub const fn rows(&self) -> usize {
        self.unit_rows * self.rows_each
    }

    pub const fn keys(&self) -> usize {
        self.unit_keys * self.keys_each
    }

    pub const fn units(&self) -> usize {
        self.unit_rows * self.unit_keys
    }

    /// Vectors from one line to the next in shared memory, so that units which read the same column of neighbouring
    /// lines read different banks.
    pub const fn pitch(&self) -> usize {
        match self.tensor_cores {
            // 16 bytes more than a line: fragments have to start at a multiple of 16 bytes.
            true => self.width + 8 / self.lanes,
            false => self.width | 1,
        }
    }

    /// Scores from one row to the next in shared memory.
    pub const fn score_pitch(&self) -> usize {
        match (self.tensor_cores, self.keys().is_multiple_of(32)) {
            (true, _) => self.keys() + 4,
            // The two rows of a warp lie in different banks.
            (false, true) => self.keys() + 16,
            (false, false) => self.keys(),
        }
    }

    /// 16-bit weights from one row to the next in shared memory, on tensor cores.
    pub const fn weight_pitch(&self) -> usize {
        self.keys() + 8
    }

    /// Vectors of each unit along a line of the result.
    pub const fn columns_each(&self) -> usize {
        self.width.div_ceil(self.unit_keys)
    }

    /// Fragments along a line, on tensor cores.
    pub const fn fragments(&self) -> usize {
        self.width * self.lanes / SIDE
    }

    /// Bytes of so many lines in shared memory.
    pub const fn line_bytes(&self, lines: usize) -> usize {
        lines
            * self.pitch()
            * self.lanes
            * if self.tensor_cores {
                2
            } else {
                size_of::<f32>()
            }
    }

    /// Bytes of the scores of a tile in shared memory.
    pub const fn score_bytes(&self) -> usize {
        self.rows() * self.score_pitch() * size_of::<f32>()
    }

    /// Bytes of weights in shared memory, made of the scores of a tile.
    pub const fn weight_bytes(&self) -> usize {
        match self.tensor_cores {
            true => self.rows() * self.weight_pitch() * 2,
            false => self.score_bytes(),
        }
    }
}

/// The sizes of an attention, and the part of it that a cube along `z` has.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Extent {
    pub batch: usize,
    /// Rows of a group: the queries of all its heads.
    pub rows: usize,
    pub queries: usize,
    pub keys: usize,
    pub groups: usize,
    /// Keys that every query sees, before all others.
    pub prefix: usize,
    /// Queries from one row of the batch to the next in the intervals: none if all rows are alike.
    pub mask_stride: usize,
    /// Tiles that a cube along `z` goes through.
    pub span: usize,
}

/// The row of the batch and the group that a cube works on.
#[cube]
pub fn place(extent: &Extent) -> (usize, usize) {
    let index = CUBE_POS_Y as usize;
    (index / extent.groups, index % extent.groups)
}

/// The head and the query of a row.
#[cube]
pub fn head_and_query(row: usize, group: usize, extent: &Extent) -> (usize, usize) {
    let head = row / extent.queries;
    let share = extent.rows / extent.queries;
    (group * share + head, row % extent.queries)
}

/// Where the sum of a row stands in `[batch, heads, queries]`.
#[cube]
pub fn sum_index(batch: usize, head: usize, query: usize, extent: &Extent) -> usize {
    let heads = extent.groups * (extent.rows / extent.queries);
    (batch * heads + head) * extent.queries + query
}

/// The vector at which a line starts in a contiguous `[batch, queries, heads, head_dim]`.
#[cube]
pub fn result_index(
    batch: usize,
    head: usize,
    query: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) -> usize {
    let heads = extent.groups * (extent.rows / extent.queries);
    ((batch * extent.queries + query) * heads + head) * comptime!(tile.width)
}

/// Reads the rows from `first` on to shared memory; what lies beyond the last row is zero.
#[cube]
pub fn load_rows<F: Float, S: Float, N: Size>(
    x: &HeadView<Vector<F, N>>,
    lines: &mut SharedMemory<Vector<S, N>>,
    first: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) {
    let (batch, group) = place(extent);
    let count = comptime!(tile.rows() * tile.width);
    let mut index = UNIT_POS as usize;
    while index < count {
        let line = index / comptime!(tile.width);
        let column = index % comptime!(tile.width);
        let row = first + line;
        let mut vector = Vector::<S, N>::new(S::new(0.0));
        if row < extent.rows {
            let (head, query) = head_and_query(row, group, extent);
            vector = Vector::cast_from(x[(batch, query, head, column)]);
        }
        lines[line * comptime!(tile.pitch()) + column] = vector;
        index += comptime!(tile.units());
    }
}

/// Reads the keys or values from `first` on to shared memory; what lies beyond the last one is zero.
#[cube]
pub fn load_keys<F: Float, S: Float, N: Size>(
    x: &HeadView<Vector<F, N>>,
    lines: &mut SharedMemory<Vector<S, N>>,
    first: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) {
    let (batch, group) = place(extent);
    let count = comptime!(tile.keys() * tile.width);
    let mut index = UNIT_POS as usize;
    while index < count {
        let line = index / comptime!(tile.width);
        let column = index % comptime!(tile.width);
        let key = first + line;
        let mut vector = Vector::<S, N>::new(S::new(0.0));
        if key < extent.keys {
            vector = Vector::cast_from(x[(batch, key, group, column)]);
        }
        lines[line * comptime!(tile.pitch()) + column] = vector;
        index += comptime!(tile.units());
    }
}

/// Reads what is kept of the rows from `first` on: logarithms of their sums, then `rowsum(dO ∘ O)`.
#[cube]
pub fn load_sums(
    log_sum_exp: &LinearView<f32>,
    along: &Array<f32>,
    sums: &mut SharedMemory<f32>,
    first: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) {
    let (batch, group) = place(extent);
    let count = comptime!(tile.rows());
    let mut line = UNIT_POS as usize;
    while line < count {
        let row = min(first + line, extent.rows - 1);
        let (head, query) = head_and_query(row, group, extent);
        let index = sum_index(batch, head, query, extent);
        sums[line] = log_sum_exp[index];
        sums[count + line] = along[index];
        line += comptime!(tile.units());
    }
}

/// Reads the intervals of the rows from `first` on, `from` of all before `to` of all; that of a row beyond the last
/// begins beyond the keys.
#[cube]
pub fn load_intervals(
    intervals: &Array<i32>,
    bounds: &mut SharedMemory<u32>,
    first: usize,
    extent: &Extent,
    #[comptime] masked: bool,
    #[comptime] tile: Tile,
) {
    let (batch, _group) = place(extent);
    let count = comptime!(tile.rows());
    let mut line = UNIT_POS as usize;
    while line < count {
        let row = first + line;
        let mut from = u32::cast_from(extent.keys + 1);
        let mut to = u32::new(0);
        if row < extent.rows {
            if comptime!(masked) {
                let query = batch * extent.mask_stride + row % extent.queries;
                from = u32::cast_from(intervals[2 * query]);
                to = u32::cast_from(intervals[2 * query + 1]);
            } else {
                from = u32::new(0);
                to = u32::cast_from(extent.keys);
            }
        }
        bounds[line] = from;
        bounds[count + line] = to;
        line += comptime!(tile.units());
    }
}

/// The keys outside of which no row of the tile sees anything beside the prefix.
#[cube]
pub fn visible_range(bounds: &SharedMemory<u32>, #[comptime] tile: Tile) -> (usize, usize) {
    let count = comptime!(tile.rows());
    let mut from = bounds[0];
    let mut to = bounds[count];
    let mut line = comptime!(1usize).runtime();
    while line < count {
        let (low, high) = (bounds[line], bounds[count + line]);
        // Of a row that sees nothing, the interval is empty.
        if low < high {
            let none = from >= to;
            from = select(none, low, min(from, low));
            to = select(none, high, max(to, high));
        }
        line += 1;
    }
    (from as usize, to as usize)
}

/// Whether a tile of keys has any that lies in the range or in the prefix.
#[cube]
pub fn any_visible(
    first: usize,
    low: usize,
    high: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) -> bool {
    let end = first + comptime!(tile.keys());
    first < extent.prefix || (low < high && first < high && low < end)
}

/// Whether a row of the tile sees a key. A row that does not exist sees none, not even of the prefix.
#[cube]
pub fn sees(
    bounds: &SharedMemory<u32>,
    line: usize,
    key: usize,
    extent: &Extent,
    #[comptime] tile: Tile,
) -> bool {
    let from = bounds[line] as usize;
    let to = bounds[comptime!(tile.rows()) + line] as usize;
    let in_prefix = key < extent.prefix && from <= extent.keys;
    key < extent.keys && (in_prefix || (key >= from && key < to))
}

/// The products of a unit's rows with its keys, `rows · keysᵀ`.
#[cube]
pub fn products<N: Size>(
    rows: &SharedMemory<Vector<f32, N>>,
    keys: &SharedMemory<Vector<f32, N>>,
    out: &mut Array<f32>,
    #[comptime] tile: Tile,
) {
    let (x, y) = unit(tile);
    let rows_each = comptime!(tile.rows_each);
    let keys_each = comptime!(tile.keys_each);
    let mut left = Array::<Vector<f32, N>>::new(rows_each);
    let mut right = Array::<Vector<f32, N>>::new(keys_each);
    #[unroll]
    for index in 0..comptime!(rows_each * keys_each) {
        out[index] = f32::new(0.0);
    }
    let width = comptime!(tile.width);
    for column in 0..width {
        #[unroll]
        for i in 0..rows_each {
            let line = y + comptime!(i * tile.unit_rows);
            left[i] = rows[line * comptime!(tile.pitch()) + column];
        }
        #[unroll]
        for j in 0..keys_each {
            let line = x + comptime!(j * tile.unit_keys);
            right[j] = keys[line * comptime!(tile.pitch()) + column];
        }
        #[unroll]
        for i in 0..rows_each {
            #[unroll]
            for j in 0..keys_each {
                let (a, b) = (left[i], right[j]);
                let mut sum = out[comptime!(i * keys_each + j)];
                #[unroll]
                for lane in 0..N::value() {
                    sum += a[lane] * b[lane];
                }
                out[comptime!(i * keys_each + j)] = sum;
            }
        }
    }
}

/// Adds `weights · keys` to what a unit has of it: rows `y, y + unit_rows, …`, vectors `x, x + unit_keys, …`.
#[cube]
pub fn add_weighted_keys<N: Size>(
    weights: &SharedMemory<f32>,
    keys: &SharedMemory<Vector<f32, N>>,
    sums: &mut Array<Vector<f32, N>>,
    #[comptime] tile: Tile,
) {
    let (x, y) = unit(tile);
    let columns_each = comptime!(tile.columns_each());
    let count = comptime!(tile.keys());
    for key in 0..count {
        #[unroll]
        for i in 0..comptime!(tile.rows_each) {
            let line = y + comptime!(i * tile.unit_rows);
            let weight = weights[line * comptime!(tile.score_pitch()) + key];
            #[unroll]
            for j in 0..columns_each {
                // Of a column beyond the last one, the sum is not used.
                let column = min(x + comptime!(j * tile.unit_keys), comptime!(tile.width - 1));
                let vector = keys[key * comptime!(tile.pitch()) + column];
                sums[comptime!(i * columns_each + j)] += Vector::new(weight) * vector;
            }
        }
    }
}

/// Adds `weightsᵀ · rows` to what a unit has of it: keys `y, y + unit_rows, …`, vectors `x, x + unit_keys, …`.
#[cube]
pub fn add_weighted_rows<N: Size>(
    weights: &SharedMemory<f32>,
    rows: &SharedMemory<Vector<f32, N>>,
    sums: &mut Array<Vector<f32, N>>,
    #[comptime] tile: Tile,
) {
    let (x, y) = unit(tile);
    let columns_each = comptime!(tile.columns_each());
    let count = comptime!(tile.rows());
    for row in 0..count {
        #[unroll]
        for i in 0..comptime!(tile.keys() / tile.unit_rows) {
            let key = y + comptime!(i * tile.unit_rows);
            let weight = weights[row * comptime!(tile.score_pitch()) + key];
            #[unroll]
            for j in 0..columns_each {
                let column = min(x + comptime!(j * tile.unit_keys), comptime!(tile.width - 1));
                let vector = rows[row * comptime!(tile.pitch()) + column];
                sums[comptime!(i * columns_each + j)] += Vector::new(weight) * vector;
            }
        }
    }
}

/// A unit's place along keys and along rows.
#[cube]
pub fn unit(#[comptime] tile: Tile) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    let unit_keys = comptime!(tile.unit_keys);
    (unit % unit_keys, unit / unit_keys)
}

/// Zeroes for a unit's sums.
#[cube]
pub fn zeroes<N: Size>(#[comptime] count: usize) -> Array<Vector<f32, N>> {
    let mut sums = Array::<Vector<f32, N>>::new(count);
    #[unroll]
    for index in 0..count {
        sums[index] = Vector::new(f32::new(0.0));
    }
    sums
}

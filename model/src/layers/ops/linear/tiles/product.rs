//! Products of rows that lie as they are with a packed second factor.

use std::ops::Range;

use super::division::{COLUMNS, Division, ROWS};
use super::instructions::is_here;
use super::kernel::{LANES, Lines, Place, meet, pack, pack_turned, with_room};
use crate::layers::ops::flex::products::Number;
use crate::layers::ops::linear::second::Second;
use crate::layers::ops::linear::sizes::Sizes;

/// See [`product`](super::product).
pub fn product<N: Number>(
    first: &[N],
    second: Second<'_, N>,
    bias: Option<&[f32]>,
    [rows, depth, columns]: [usize; 3],
) -> Vec<N> {
    assert!(is_here());
    let (Second::Turned(numbers) | Second::Plain(numbers)) = second;
    assert!(first.len() == rows * depth && numbers.len() == depth * columns);
    assert!(bias.is_none_or(|bias| bias.len() == columns));
    let mut out = Vec::with_capacity(rows * columns);
    let place = Place(out.as_mut_ptr());
    let division = Division::of([rows, depth, columns], rayon::current_num_threads());
    let [across, down] = division.tasks;
    let sizes = Sizes {
        rows,
        input: depth,
        output: columns,
    };
    sizes.for_each(across * down, |index| {
        let (row, column) = (index / across * division.rows, index % across * COLUMNS);
        let task = Task {
            first,
            second,
            bias,
            depth,
            columns,
            step: division.depth,
            rows: row..rows.min(row + division.rows),
            from: column,
            count: COLUMNS.min(columns - column),
        };
        with_room(COLUMNS * division.depth, |room| {
            // SAFETY: `is_here` has asked for the instructions; there is room for all rows, these columns of these rows
            // are this task's, and `room` has place for the columns.
            unsafe {
                match task.count.div_ceil(LANES) {
                    1 => task.run::<1>(place.pointer(), room),
                    2 => task.run::<2>(place.pointer(), room),
                    3 => task.run::<3>(place.pointer(), room),
                    _ => task.run::<4>(place.pointer(), room),
                }
            }
        });
    });
    // SAFETY: the tasks have written all columns of all rows.
    unsafe { out.set_len(rows * columns) };
    out
}

/// Some columns of some rows.
struct Task<'a, N> {
    first: &'a [N],
    second: Second<'a, N>,
    bias: Option<&'a [f32]>,
    depth: usize,
    columns: usize,
    /// Numbers of a column that are packed at a time.
    step: usize,
    rows: Range<usize>,
    from: usize,
    count: usize,
}

impl<N: Number> Task<'_, N> {
    /// Writes the task's part of the result, which begins at `out`; `PARTS` registers hold the columns of a row, and
    /// `packed` has room for them.
    ///
    /// # Safety
    /// The processor must have the instructions, and there must be room.
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn run<const PARTS: usize>(&self, out: *mut N, packed: *mut f32) {
        let mut start = [0.0; COLUMNS];
        if let Some(bias) = self.bias {
            start[..self.count].copy_from_slice(&bias[self.from..self.from + self.count]);
        }
        let start = Lines {
            first: start.as_ptr(),
            stride: 0,
        };
        // Sums of a part of the depth, in float32: in the result itself, if that can hold them.
        let width = PARTS * LANES;
        let in_place = size_of::<N>() == size_of::<f32>() && self.count == width;
        let mut held: Vec<f32> = Vec::new();
        if self.depth > self.step && !in_place {
            held.reserve_exact(self.rows.len() * width);
        }
        let held = held.as_mut_ptr();
        let mut from = 0;
        loop {
            let depth = self.step.min(self.depth - from);
            let is_last = from + depth == self.depth;
            // SAFETY: these lines and rows are within the factors by the sizes that `product` has asserted, and
            // there is room for what is packed, held and written.
            unsafe {
                self.pack::<PARTS>(from..from + depth, packed);
                for row in self.rows.clone().step_by(ROWS) {
                    let rows = ROWS.min(self.rows.end - row);
                    let end = Lines {
                        first: out.add(row * self.columns + self.from),
                        stride: self.columns,
                    };
                    let sums = match in_place {
                        true => Lines {
                            first: end.first.cast::<f32>(),
                            stride: end.stride,
                        },
                        false => Lines {
                            first: held.wrapping_add((row - self.rows.start) * width),
                            stride: width,
                        },
                    };
                    let begin = match from {
                        0 => start,
                        _ => Lines {
                            first: sums.first.cast_const(),
                            stride: sums.stride,
                        },
                    };
                    let first = Lines {
                        first: self.first.as_ptr().add(row * self.depth + from),
                        stride: self.depth,
                    };
                    match is_last {
                        true => {
                            meet::<N, N, PARTS>(rows, first, depth, packed, begin, end, self.count)
                        }
                        false => {
                            meet::<N, f32, PARTS>(rows, first, depth, packed, begin, sums, width)
                        }
                    }
                }
            }
            from += depth;
            if is_last {
                return;
            }
        }
    }

    /// Numbers of the second factor's lines, `[depth, PARTS · LANES]`; those of columns that are missing are zero.
    ///
    /// # Safety
    /// The processor must have the instructions, and there must be room.
    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn pack<const PARTS: usize>(&self, lines: Range<usize>, to: *mut f32) {
        let width = PARTS * LANES;
        // SAFETY: the columns and lines are within the factor, and there is room for `lines.len()` times `width`.
        unsafe {
            match self.second {
                Second::Turned(numbers) => {
                    let first = numbers.as_ptr().add(self.from * self.depth);
                    let columns = Lines {
                        first,
                        stride: self.depth,
                    };
                    let dims = [lines.start, lines.len()];
                    if self.count < width {
                        to.write_bytes(0, width * lines.len());
                    }
                    pack_turned(columns, 0..self.count, dims, to, width);
                }
                Second::Plain(numbers) => {
                    let all = Lines {
                        first: numbers.as_ptr(),
                        stride: self.columns,
                    };
                    pack(all, lines, [self.from, self.count], to, width);
                }
            }
        }
    }
}

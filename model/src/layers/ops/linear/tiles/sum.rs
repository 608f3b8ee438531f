//! Sums over the lines of two factors, of which both are packed.

use std::ops::Range;

use super::division::{COLUMNS, ROWS, TASKS, step};
use super::instructions::is_here;
use super::kernel::{LANES, Lines, pack, pack_turned, tile, with_room};
use crate::layers::ops::flex::products::Number;
use crate::layers::ops::flex::values::Shared;
use crate::layers::ops::linear::sizes::Sizes;

/// Rows of a task of a sum, a multiple of [`ROWS`] and of what registers hold: 192 KiB of them are packed.
const ROWS_OF_SUM: usize = 96;

/// How a sum of products is shared out: tasks of so many rows and panels of [`COLUMNS`] columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SumDivision {
    pub(super) rows: usize,
    pub(super) panels: usize,
    /// Numbers that are packed of a row and of a column at a time.
    depth: usize,
    /// Tasks beside each other, and one below the other.
    pub(super) tasks: [usize; 2],
}

impl SumDivision {
    pub(super) fn of([rows, depth, columns]: [usize; 3], threads: usize) -> Self {
        let rows_of_task = ROWS_OF_SUM.min(rows.next_multiple_of(16));
        let down = rows.div_ceil(rows_of_task.max(1));
        let panels = columns.div_ceil(COLUMNS).max(1);
        let across = (TASKS * threads).div_ceil(down.max(1)).clamp(1, panels);
        let panels_of_task = panels.div_ceil(across);
        Self {
            rows: rows_of_task,
            panels: panels_of_task,
            depth: step(depth),
            tasks: [panels.div_ceil(panels_of_task), down],
        }
    }
}

/// See [`sum`](super::sum).
///
/// # Safety
/// As there.
pub unsafe fn sum<N: Number>(
    sums: Shared,
    adds: bool,
    first: &[N],
    second: &[N],
    [rows, depth, columns]: [usize; 3],
) {
    assert!(is_here());
    assert!(first.len() == depth * rows && second.len() == depth * columns);
    let threads = rayon::current_num_threads();
    let division = SumDivision::of([rows, depth, columns], threads);
    let [across, down] = division.tasks;
    let sizes = Sizes {
        rows: depth,
        input: columns,
        output: rows,
    };
    sizes.for_each(across * down, |index| {
        let row = index / across * division.rows;
        let panel = index % across * division.panels;
        let task = Task {
            first,
            second,
            sizes,
            step: division.depth,
            rows: row..rows.min(row + division.rows),
            panels: panel..columns.div_ceil(COLUMNS).min(panel + division.panels),
        };
        with_room((division.rows + COLUMNS) * division.depth, |room| {
            // SAFETY: `is_here` has asked for the instructions; there is room for all sums, those of these columns of
            // these rows are this task's, and they have been written if it adds to them.
            unsafe { task.run(sums, adds, room) };
        });
    });
}

/// Some columns of some rows.
struct Task<'a, N> {
    first: &'a [N],
    second: &'a [N],
    sizes: Sizes,
    /// Numbers that are packed at a time.
    step: usize,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<N: Number> Task<'_, N> {
    /// Adds the task's products to its sums, or writes them; `room` is for what is packed.
    ///
    /// # Safety
    /// The processor must have the instructions, and there must be room for the sums, which have been written if it
    /// adds to them.
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn run(&self, sums: Shared, adds: bool, room: *mut f32) {
        let (all, columns) = (self.sizes.output, self.sizes.input);
        let rows = self.rows.len();
        let first = room;
        let second = room.wrapping_add(rows.next_multiple_of(LANES) * self.step);
        let lines = Lines {
            first: self.first.as_ptr(),
            stride: all,
        };
        let others = Lines {
            first: self.second.as_ptr(),
            stride: columns,
        };
        let mut from = 0;
        loop {
            let depth = self.step.min(self.sizes.rows - from);
            let range = from..from + depth;
            // SAFETY: the lines and columns are within the factors by the sizes that `sum` has asserted, and there is
            // room for what is packed.
            unsafe {
                let dims = [self.rows.start, rows];
                pack_turned(lines, range.clone(), dims, first, self.step);
            }
            for panel in self.panels.clone() {
                let column = panel * COLUMNS;
                let count = COLUMNS.min(columns - column);
                // SAFETY: as above.
                unsafe {
                    let width = count.next_multiple_of(LANES);
                    pack(others, range.clone(), [column, count], second, width);
                    let panel = Panel {
                        first,
                        second,
                        step: self.step,
                        depth,
                        count,
                        sums: Lines {
                            first: sums.at(self.rows.start * columns + column),
                            stride: columns,
                        },
                        adds: adds || from > 0,
                    };
                    match width / LANES {
                        1 => panel.run::<1>(rows),
                        2 => panel.run::<2>(rows),
                        3 => panel.run::<3>(rows),
                        _ => panel.run::<4>(rows),
                    }
                }
            }
            from += depth;
            if from == self.sizes.rows {
                return;
            }
        }
    }
}

/// Packed rows that meet packed columns.
struct Panel {
    first: *const f32,
    second: *const f32,
    step: usize,
    depth: usize,
    count: usize,
    sums: Lines<*mut f32>,
    adds: bool,
}

impl Panel {
    /// # Safety
    /// The processor must have the instructions, and everything must be there.
    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn run<const PARTS: usize>(&self, rows: usize) {
        let width = PARTS * LANES;
        for row in (0..rows).step_by(ROWS) {
            let lines = Lines {
                // Within what was packed.
                first: self.first.wrapping_add(row * self.step),
                stride: self.step,
            };
            let end = Lines {
                first: self.sums.first.wrapping_add(row * self.sums.stride),
                stride: self.sums.stride,
            };
            let rows = ROWS.min(rows - row);
            let mut begin = [0.0; ROWS * COLUMNS];
            if self.adds {
                for (row, begin) in begin.chunks_mut(width).take(rows).enumerate() {
                    // SAFETY: the sums are there.
                    unsafe {
                        let from = end.first.add(row * end.stride);
                        std::ptr::copy_nonoverlapping(from, begin.as_mut_ptr(), self.count);
                    }
                }
            }
            let begin = Lines {
                first: begin.as_ptr(),
                stride: width,
            };
            let (depth, second, count) = (self.depth, self.second, self.count);
            // SAFETY: the caller's promise.
            unsafe {
                match rows {
                    1 => tile::<f32, 1, PARTS>(lines, depth, second, begin, end, count),
                    2 => tile::<f32, 2, PARTS>(lines, depth, second, begin, end, count),
                    3 => tile::<f32, 3, PARTS>(lines, depth, second, begin, end, count),
                    4 => tile::<f32, 4, PARTS>(lines, depth, second, begin, end, count),
                    5 => tile::<f32, 5, PARTS>(lines, depth, second, begin, end, count),
                    _ => tile::<f32, ROWS, PARTS>(lines, depth, second, begin, end, count),
                }
            }
        }
    }
}

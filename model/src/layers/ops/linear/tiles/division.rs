//! How products are shared out.

/// Columns of the result that are computed at once.
pub(super) const COLUMNS: usize = 64;
/// Numbers of a column that are packed at a time, at most: 128 KiB of all columns together.
pub(super) const DEPTH: usize = 512;
/// Rows that meet the columns at once, as many as the registers hold sums of.
pub(super) const ROWS: usize = 6;
/// Rows of a task at least, where rows are shared out as well: fewer do not pay for packing the columns.
pub(super) const ROWS_OF_TASK: usize = 126;
/// Tasks for each thread, where there is work for so many.
pub(super) const TASKS: usize = 4;

/// How a product is shared out: tasks of so many rows and of up to [`COLUMNS`] columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    pub rows: usize,
    /// Numbers of a column that are packed at a time.
    pub depth: usize,
    /// Tasks beside each other, and one below the other.
    pub tasks: [usize; 2],
}

impl Division {
    pub fn of([rows, depth, columns]: [usize; 3], threads: usize) -> Self {
        let panels = columns.div_ceil(COLUMNS).max(1);
        let wanted = (TASKS * threads).div_ceil(panels);
        let blocks = wanted.min(rows / ROWS_OF_TASK).max(1);
        let rows_of_task = rows.div_ceil(blocks).next_multiple_of(ROWS).max(ROWS);
        Self {
            rows: rows_of_task,
            depth: step(depth),
            tasks: [panels, rows.div_ceil(rows_of_task)],
        }
    }
}

/// Numbers of so many that are packed at a time, in parts of one size.
pub(super) fn step(depth: usize) -> usize {
    let parts = depth.div_ceil(DEPTH).max(1);
    depth.div_ceil(parts).next_multiple_of(16).max(16)
}

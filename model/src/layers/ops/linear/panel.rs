//! How the CPU's products divide rows and weights.

/// Up to this many rows, lines of 16-bit numbers are widened in registers, for each few rows again.
pub(super) const DIRECT_ROWS: usize = 8;
/// Up to this many rows, reading the weight's lines as they are beats packing them for a matrix product.
pub(super) const SOME_ROWS: usize = 192;
/// Lines of the weight that meet some rows at once.
pub(super) const LINES: usize = 4;
/// Outputs per task of their product, a multiple of [`LINES`].
pub(super) const OUTPUTS: usize = 128;
/// Elements of a panel (256 KiB of float32, a part of the second-level cache).
const PANEL: usize = 1 << 16;
/// Outputs of a panel, of which there are multiples where the input allows: as many as `gemm` computes at once.
const OUTPUTS_AT_ONCE: usize = 64;
/// Elements of the gradient of a panel of outputs.
const SUM_PANEL: usize = 1 << 17;
/// Elements of the weight that one product over the outputs takes at a time, all of whose threads work on the same
/// ones.
const BACKWARD: usize = 1 << 20;

/// Up to this width, `gemm` packs nothing of the other factor.
pub(super) const THIN: usize = 32;

/// Outputs whose weights one task of the product with the input widens.
pub(super) fn forward_panel(input: usize, output: usize) -> usize {
    let fitting = PANEL / input.max(1) / OUTPUTS_AT_ONCE * OUTPUTS_AT_ONCE;
    fitting.max(OUTPUTS_AT_ONCE).min(output.max(1))
}

/// Outputs whose weights one task of the sum of their gradients has: over all of them at once, `gemm` would pack a
/// copy of the gradient. The tasks are as large as each other, and so many that any number of threads shares them well.
pub(super) fn sum_panel(rows: usize, output: usize) -> usize {
    let tasks = output.div_ceil((SUM_PANEL / rows.max(1)).max(1));
    let tasks = if tasks > 1 {
        tasks.next_multiple_of(4)
    } else {
        1
    };
    output.div_ceil(tasks).max(1)
}

/// Outputs whose weights the product with the output's gradient widens at a time.
pub(super) fn backward_panel(input: usize, output: usize) -> usize {
    (BACKWARD / input.max(1)).clamp(1, output.max(1))
}

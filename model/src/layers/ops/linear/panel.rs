//! How the CPU's products divide rows and weights.

/// Up to this many rows, one scalar product at a time is as fast as the weight can be read.
pub(super) const FEW_ROWS: usize = 4;
/// Up to this many rows, reading the weight's lines as they are beats packing them for a matrix product.
pub(super) const SOME_ROWS: usize = 192;
/// Lines of the weight that meet some rows at once.
pub(super) const LINES: usize = 4;
/// Outputs per task of their product, a multiple of [`LINES`].
pub(super) const OUTPUTS: usize = 128;
/// Elements of a panel (1 MiB of float32, which stays in the second-level cache).
const PANEL: usize = 1 << 18;
/// Panels that one product over the outputs takes at a time, all of whose threads work on the same one.
const BACKWARD: usize = 4;

/// Up to this width, `gemm` packs nothing of the other factor.
pub(super) const THIN: usize = 32;

/// Elements that `gemm` packs at a time of a factor whose rows are adjacent, `depth` of them summed over.
pub(super) fn packed(depth: u64, width: u64) -> u64 {
    depth.min(512) * width
}

/// Outputs whose weights one task of the product with the input widens.
pub(super) fn forward_panel(input: usize, output: usize) -> usize {
    (PANEL / input.max(1)).clamp(1, output.max(1))
}

/// Outputs whose weights one task of the sum of their gradients has: over all of them at once, `gemm` would pack a
/// copy of the gradient.
pub(super) fn sum_panel(rows: usize, output: usize) -> usize {
    (PANEL / rows.max(1)).clamp(1, output.max(1))
}

/// Outputs whose weights the product with the output's gradient widens at a time.
pub(super) fn backward_panel(input: usize, output: usize) -> usize {
    (PANEL * BACKWARD / input.max(1)).clamp(1, output.max(1))
}

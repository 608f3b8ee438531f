//! How much of a 16-bit weight the CPU's products widen at once.

/// Elements of a widened panel (1 MiB of float32, which stays in the second-level cache).
pub(super) const PANEL: usize = 1 << 18;
/// Panels that one product over the outputs takes at a time, all of whose threads work on the same one.
const BACKWARD: usize = 4;

/// Outputs whose weights one task of the product with the input widens.
pub(super) fn forward_panel(input: usize, output: usize) -> usize {
    (PANEL / input.max(1)).clamp(1, output.max(1))
}

/// Outputs whose weights the product with the output's gradient widens at a time.
pub(super) fn backward_panel(input: usize, output: usize) -> usize {
    (PANEL * BACKWARD / input.max(1)).clamp(1, output.max(1))
}

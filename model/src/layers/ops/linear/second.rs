//! The second factor of a product.

/// The second factor, as it is stored.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) enum Second<'a, N> {
    /// `[columns, depth]`: a column's numbers are adjacent.
    Turned(&'a [N]),
    /// `[depth, columns]`.
    Plain(&'a [N]),
}

//! A factor as the kernels take it, and how their cubes divide it.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

/// Units of a cube.
pub(super) const UNITS: usize = 256;
/// Ranks that a cube works on at a time.
pub(super) const RANKS: usize = 16;

/// A factor, `[rank, width]` or `[width, rank]`.
#[derive(Debug, Clone)]
pub(super) struct Factor<R: CubeRuntime> {
    pub(super) tensor: CubeTensor<R>,
    /// Whether a line of it has the width, as A has.
    pub(super) lines_are_wide: bool,
}

impl<R: CubeRuntime> Factor<R> {
    pub(super) fn a(tensor: CubeTensor<R>) -> Self {
        Self {
            tensor,
            lines_are_wide: true,
        }
    }

    pub(super) fn b(tensor: CubeTensor<R>) -> Self {
        Self {
            tensor,
            lines_are_wide: false,
        }
    }

    pub(super) fn rank(&self) -> usize {
        let shape = self.tensor.shape();
        match self.lines_are_wide {
            true => shape[0],
            false => shape[1],
        }
    }
}

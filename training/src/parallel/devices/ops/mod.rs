//! What devices of one process do together, behind an extension of the model's backend: a default made of Burn's
//! operations, for backends whose devices know nothing of each other, and a file for those that have a way between
//! them.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape};
use glmtune_model::GlmBackend;

/// Whether devices of a backend sum tensors without the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collectives {
    /// They do.
    There,
    /// They would, and something is missing on this machine, in words.
    Missing(&'static str),
    /// They know nothing of each other.
    None,
}

/// A backend that the model computes on, extended by what several devices do together.
pub trait CollectiveOps: GlmBackend {
    /// Whether the devices sum tensors without the host.
    fn glm_collectives() -> Collectives {
        Collectives::None
    }

    /// Tensors of one device in one row, of a type. The row may have gaps, whose values mean nothing. There is at least
    /// one tensor.
    ///
    /// # Shapes
    /// - `tensors`: of any rank; result: `[elements and gaps]`, the same for the same shapes
    fn glm_pack(tensors: Vec<FloatTensor<Self>>, dtype: DType) -> FloatTensor<Self> {
        default::pack::<Self>(tensors, dtype)
    }

    /// The tensors of a row that [`glm_pack`](Self::glm_pack) made of tensors of these shapes.
    fn glm_unpack(packed: FloatTensor<Self>, shapes: &[Shape]) -> Vec<FloatTensor<Self>> {
        default::unpack::<Self>(packed, shapes)
    }

    /// Where each of the tensors begins in such a row.
    fn glm_places(_packed: &FloatTensor<Self>, shapes: &[Shape]) -> Vec<usize> {
        default::places(shapes)
    }

    /// A tensor on a device, of its parts, which lie on some devices one after the other: flat, of one type and equally
    /// long, with something of no meaning at the end of the last. Nobody needs to do anything on the other devices.
    ///
    /// # Shapes
    /// - `parts`: `[elements]` each; result: `shape`
    fn glm_join(
        parts: Vec<FloatTensor<Self>>,
        shape: Shape,
        device: &Self::Device,
    ) -> FloatTensor<Self> {
        default::join::<Self>(parts, shape, device)
    }

    /// Begins to sum rows of equal length, one on each of some devices, and gives the places of the sums, the same to
    /// the bit on every device. Until [`glm_await_sums`](Self::glm_await_sums) nobody may read them or let go of them.
    ///
    /// # Errors
    /// Gives the rows back where there are no [collectives](Self::glm_collectives).
    fn glm_begin_sums(
        packed: Vec<FloatTensor<Self>>,
    ) -> Result<Vec<FloatTensor<Self>>, Vec<FloatTensor<Self>>> {
        Err(packed)
    }

    /// Lets whatever is asked of these devices from here on wait for the sums that were begun; the caller does not wait.
    fn glm_await_sums(_devices: &[Self::Device]) {}
}

//! Output layer and loss in one, so that the logits of all rows never exist at once.

mod autodiff;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
pub mod default;
#[cfg(feature = "flex")]
mod flex;
pub mod memory;
mod operands;

pub(crate) use operands::HeadFactors;
pub use operands::{HeadAdapter, HeadGradients, HeadLoss, head_rows};

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};

/// Output layer and loss.
pub trait HeadLossOps: Backend {
    /// Output layer and loss in one: the mean cross entropy of the targets, and its gradients on the way.
    /// The logits exist for a few rows at a time ([`head_rows`]), never for all. Under autodiff, who is
    /// tracked decides over the gradients; the scale holds there too: it acts on gradients alone.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, width]`, `weight`: `[vocabulary, width]`, of one type, as the adapter's factors are;
    ///   `targets`: `[rows]`
    fn glm_head_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        adapter: Option<HeadAdapter<Self>>,
        targets: IntTensor<Self>,
        wanted: HeadGradients,
    ) -> HeadLoss<Self> {
        default::head_loss::<Self>(hidden, weight, adapter, targets, wanted)
    }

    /// One of its gradients times that of the loss, `[1]`, in the type of the first: computed in float32, since half
    /// precision has no room for a factor beyond 65504.
    fn glm_head_loss_backward(
        own: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        default::backward::<Self>(own, grad)
    }
}

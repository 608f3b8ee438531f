//! What a pass through a model holds of the device's memory, replayed without a model.
//!
//! Every operation declares beside its code what it holds while it computes and what its backward pass keeps
//! (`layers/ops/<operation>/memory.rs`; those of Burn that blocks use are in `tensor_operations.rs`). Layers, adapters and blocks say in
//! which order they call them, beside their forward pass. A [`Trace`] runs that with tensors that hold nothing,
//! shares them and lets go of them as the real ones are, and counts.

mod ledger;
mod modules;
mod operation;
mod segment;
mod tensor_operations;
mod trace;

pub use ledger::Held;
pub use modules::TracedModules;
pub use operation::{Compute, Copied, Gradient, Kept, Kernels, Operation, Stage};
pub use segment::{SegmentInput, SegmentMemory};
pub use tensor_operations::{
    add, cast, cast_work, cat, expand, mul_scalar, narrow, select, tanh, to_type,
};
pub use trace::{LeafGradients, Root, Trace, Traced};

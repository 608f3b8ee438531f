//! Checkpoint files: what published model directories hold, read and written one tensor
//! at a time.
//!
//! Reading starts at [`Checkpoint::open`] (a model directory) or [`Checkpoint::open_file`] (one file);
//! writing at [`ShardPlan`] and [`ShardWriter`]. Adapters stand on it: [`crate::adapters`]. Nothing here knows
//! a model or a backend: names, types, shapes and bytes go in and out.
//!
//! Files are not trusted. Every length is held against the size of the file before memory is asked
//! for, pickles are parsed into inert values and never executed, and an index cannot choose a path.

mod append;
mod atomic;
mod dtype;
mod fingerprint;
mod index;
mod json;
mod lock;
mod natural;
mod pickle;
mod reader;
mod safetensors;
mod side_files;
mod size;
mod source;
mod tensor;
mod tensor_digest;
mod torch;
mod torch_writer;
mod writer;
mod zip;
mod zip_writer;

pub use append::AppendFile;
pub use atomic::{AtomicDir, AtomicFile, Existing, remove_stale};
pub use dtype::DType;
pub use fingerprint::{Fingerprint, Likeness};
pub(crate) use json::write_json;
pub use lock::WriteLock;
pub use natural::natural_order;
pub use reader::{Checkpoint, Layout};
pub use side_files::{copy_side_files, own_file};
pub use size::parse_size;
pub use tensor::{RawTensor, TensorInfo};
pub(crate) use tensor_digest::add_tensor;
pub use torch_writer::write_torch;
pub use writer::{ShardPlan, ShardWriter, TensorFile, write_safetensors};

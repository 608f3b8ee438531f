//! From files of rows to micro-batches of token ids.

mod cache;
mod collate;
mod dataset;
mod prepare;
mod read;
mod settings;
mod shuffle;
mod summary;
mod token_store;

pub use collate::{Batch, batches, collate};
pub use dataset::Dataset;
pub use read::ReadOptions;
pub use shuffle::epoch_order;
pub use summary::Summary;

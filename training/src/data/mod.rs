//! From files of rows to micro-batches of token ids.

mod by_length;
mod cache;
mod collate;
mod dataset;
mod epoch;
mod fullness;
mod pack;
mod prepare;
mod read;
mod settings;
mod shuffle;
mod summary;
mod token_store;

pub use collate::collate;
pub use dataset::Dataset;
pub use epoch::{Sequences, count_sequences, epoch};
pub use fullness::Fullness;
pub use read::ReadOptions;
pub use shuffle::epoch_order;
pub use summary::Summary;

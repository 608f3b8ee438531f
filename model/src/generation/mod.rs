//! From prompts to continuations: options, sampling, and the loop over a key/value cache.

mod batches;
mod constraint;
mod decode;
mod drawing;
mod options;
mod sampler;
mod stop_strings;

pub use batches::{Answer, BatchEvent, Batching, batches, generate_batches};
pub use constraint::{AnswerForm, Constraint, Grammars};
pub use decode::{Finish, Generation, Sequence, TokenEvent, generate};
pub use drawing::{Drawing, Penalties};
pub use options::{GenerationOptions, Sampling};
pub use sampler::Sampler;
pub use stop_strings::StopStrings;

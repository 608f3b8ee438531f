//! Many requests, one model: continuations and embeddings of prompts that come and go while others are on their way.
//!
//! One thread owns the model and the keys and values of every sequence. It works in steps: each is one pass over the
//! next tokens of all running sequences, laid end to end; a sequence joins or leaves between two of them.
//! Long prompts are computed in pieces, so that the answers of others go on. Sequences of the base and of any
//! adapter share a pass. What a sequence leaves behind is kept as long as there is room, so that the next turn of a
//! conversation computes only what is new.

mod arena;
mod handle;
mod kept;
mod options;
mod pace;
mod pass;
mod places;
mod request;
mod room;
mod scores;
mod sequence;
mod served;
mod worker;

pub use handle::{EngineHandle, EngineLimits, EngineStatus};
pub use options::{EngineOptions, bytes_per_token};
pub use request::{Continuation, Event, Failure, Listener, Refusal, Request, Task, TokenScore};
pub use worker::start;

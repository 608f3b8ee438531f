//! The server: OpenAI's API over one engine, on HTTP.
//!
//! [`router`] is the server as a service, over anything that does the work ([`Engine`]); [`serve`](listen::serve) puts
//! it on a socket. What a request may hold is read by the endpoints; what it gets is made of what the engine tells,
//! as a whole or as it comes.

mod access_log;
mod answers;
mod auth;
mod body;
mod choice;
mod confined;
mod defaults;
mod endpoints;
mod engine;
mod envelope;
mod error;
mod fields;
mod generating;
mod headers;
mod job;
pub mod listen;
mod listener;
mod logprobs;
mod messages;
mod metrics;
mod models;
mod named;
pub mod page;
mod params;
mod patient;
mod prompts;
mod random;
mod record;
mod router;
mod settings;
mod state;
mod stream;
mod token_text;
mod tools;
mod usage;

pub use defaults::Defaults;
pub use engine::Engine;
pub use models::{Models, ServedModel, is_name};
pub use router::router;
pub use settings::{ApiKey, Settings};
pub use state::{Served, State};

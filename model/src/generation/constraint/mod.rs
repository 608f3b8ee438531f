//! Answers of a form: JSON, JSON of a schema, calls of tools. The grammar engine is llguidance's: it says which tokens may
//! come next, and logits of all others become minus infinity.
//!
//! Schemas come from strangers. Before the engine sees one, its size, depth and references are bounded ([`schema`]);
//! what the engine may spend on a grammar and on a token is bounded too, and a grammar is built on a thread of its own,
//! whose stack is large enough for the deepest schema that is let through. Nothing is ever fetched for a `$ref`.

mod calls;
mod form;
mod grammars;
mod reason;
mod schema;
mod state;
mod vocabulary;

pub use form::AnswerForm;
pub use grammars::Grammars;
pub use state::Constraint;

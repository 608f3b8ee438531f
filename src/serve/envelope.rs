//! What stands around the choices of every answer, whole or in chunks.

use serde_json::{Value, json};

use super::models::now;
use super::state::State;
use super::usage::Usage;

/// As answers tell which program gave them: its name and version.
const SYSTEM_FINGERPRINT: &str = concat!("glmtune-", env!("CARGO_PKG_VERSION"));

/// The id and the time of an answer, which all its chunks have.
#[derive(Debug)]
pub struct Envelope {
    id: String,
    created: u64,
}

impl Envelope {
    /// That of a new answer; its id begins with what kind of answer it is.
    pub fn new(state: &State, kind: &str) -> Self {
        Self {
            id: state.ids.id(kind),
            created: now(),
        }
    }

    /// The choices of a model in an object of a kind, with what was used, if that is told.
    pub fn around(
        &self,
        (object, model): (&str, &str),
        choices: Vec<Value>,
        usage: Option<Usage>,
    ) -> Value {
        let mut body = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": model,
            "system_fingerprint": SYSTEM_FINGERPRINT,
            "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = usage.to_json();
        }
        body
    }
}

//! What a request used.

use serde_json::{Value, json};

/// Tokens that a request used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of its prompts.
    pub prompt: usize,
    /// Of these, taken from earlier requests.
    pub cached: usize,
    /// Of its answers.
    pub completion: usize,
}

impl Usage {
    /// As answers tell it.
    pub fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

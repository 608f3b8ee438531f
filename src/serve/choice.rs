//! One answer of a chat, whole or in pieces, as OpenAI's API writes it.

use glmtune_model::generation::Finish;
use serde_json::{Value, json};

use super::logprobs::ScoredToken;

/// Why an answer has ended.
pub fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Interrupted => "stop",
    }
}

/// One answer of a chat, as far as it has come.
#[derive(Debug, Default)]
pub struct Choice {
    text: String,
    /// Id, name and arguments of a call.
    call: Option<(String, String, String)>,
    scores: Vec<ScoredToken>,
    finish: Option<Finish>,
}

impl Choice {
    /// Adds text, and the tokens that it is made of.
    pub fn add(&mut self, text: &str, scores: Vec<ScoredToken>) {
        self.text.push_str(text);
        self.scores.extend(scores);
    }

    /// It is a call of a tool.
    pub fn call(&mut self, id: String, name: String) {
        self.call = Some((id, name, String::new()));
    }

    /// Adds to the arguments of the call.
    pub fn add_arguments(&mut self, text: &str) {
        if let Some((_, _, arguments)) = &mut self.call {
            arguments.push_str(text);
        }
    }

    /// It has ended.
    pub fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    /// Its tokens, if they are scored.
    pub fn scores(&self) -> &[ScoredToken] {
        &self.scores
    }

    /// Whether it is a call.
    pub fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Why it has ended: a call that is whole is a reason of its own.
    pub fn reason(&self) -> Option<&'static str> {
        self.finish.map(|finish| match finish {
            Finish::Stop if self.is_call() => "tool_calls",
            finish => finish_reason(finish),
        })
    }

    /// The message of an answer that is whole.
    pub fn message(&self) -> Value {
        match &self.call {
            None => json!({"role": "assistant", "content": self.text, "refusal": null}),
            Some((id, name, arguments)) => {
                // Text may stand before a call; none is no text.
                let text = (!self.text.is_empty()).then_some(&self.text);
                let function = json!({"name": name, "arguments": arguments});
                let call = json!({"id": id, "type": "function", "function": function});
                json!({"role": "assistant", "content": text, "refusal": null, "tool_calls": [call]})
            }
        }
    }
}

/// The beginning of a call in a stream.
pub fn call_delta(id: &str, name: &str) -> Value {
    let function = json!({"name": name, "arguments": ""});
    json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": function}]})
}

/// More of its arguments.
pub fn arguments_delta(text: &str) -> Value {
    json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
}

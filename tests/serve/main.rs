//! The server over a real socket, with an engine that says what a test tells it to say.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(unix)]
mod binary;
mod chat;
mod client;
mod clients;
mod completions;
mod embeddings;
mod fake;
mod flags;
mod fuzz;
mod host;
mod listing;
mod refusals;
mod safety;
mod tools;

use client::{Reply, post};
use fake::FakeEngine;
use host::Host;
use serde_json::{Value, json};

/// A server whose model says `text`.
pub fn saying(text: &str) -> Host {
    Host::start(FakeEngine::saying(text), |_| {})
}

/// A chat of one question, with further fields.
pub fn chat_body(more: Value) -> Value {
    let mut body = json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Sends a chat.
pub fn chat(host: &Host, more: Value) -> Reply {
    post(host, "/v1/chat/completions", &chat_body(more))
}

/// Sends a completion.
pub fn completion(host: &Host, more: Value) -> Reply {
    let mut body = json!({"model": "base", "prompt": "hi"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    post(host, "/v1/completions", &body)
}

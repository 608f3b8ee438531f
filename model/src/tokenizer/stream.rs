//! Ids to text as they come.

use std::collections::VecDeque;

use super::decode::{Assembler, REPLACEMENT};
use super::engine::Engine;
use super::json::JsonEngine;

/// Turns ids into text as they come, without broken characters: what is pushed out is never taken
/// back, and all of it together is what [`Tokenizer::decode`](super::Tokenizer::decode) makes of all ids.
#[derive(Debug)]
pub struct DecodeStream<'a>(State<'a>);

#[derive(Debug)]
enum State<'a> {
    Published(Assembler<'a>),
    Json(Window<'a>),
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self(match engine {
            Engine::Published(published) => State::Published(published.assembler()),
            Engine::Json(engine) => State::Json(Window::new(engine)),
        })
    }

    /// Adds an id; gives the text that is now certain, if there is any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let text = match &mut self.0 {
            State::Published(assembler) => {
                assembler.push(id);
                assembler.take()
            }
            State::Json(window) => window.push(id),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The rest; bytes that never became a character are written as U+FFFD.
    pub fn finish(self) -> Option<String> {
        let text = match self.0 {
            State::Published(assembler) => assembler.finish(),
            State::Json(window) => window.rest(),
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Streaming over a decoder that only knows whole sequences: the text of the last ids, seen from a
/// few ids before them.
#[derive(Debug)]
struct Window<'a> {
    engine: &'a JsonEngine,
    ids: VecDeque<u32>,
    /// How many of `ids` are text that has been given out.
    given: usize,
}

impl<'a> Window<'a> {
    fn new(engine: &'a JsonEngine) -> Self {
        Self {
            engine,
            ids: VecDeque::new(),
            given: 0,
        }
    }

    fn push(&mut self, id: u32) -> String {
        self.ids.push_back(id);
        let text = self.rest();
        if text.is_empty() || text.ends_with(REPLACEMENT) {
            return String::new();
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        text
    }

    fn rest(&self) -> String {
        let ids: Vec<u32> = self.ids.iter().copied().collect();
        let before = self.engine.decode(&ids[..self.given]);
        let all = self.engine.decode(&ids);
        all.get(before.len()..).unwrap_or_default().to_owned()
    }
}

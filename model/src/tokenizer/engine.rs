//! What turns text into ids and back, whichever file it came from.

use super::json::JsonEngine;
use super::published::Published;
use crate::error::Result;

/// What turns text into ids and back.
#[derive(Debug)]
pub(super) enum Engine {
    /// From a published file.
    Published(Published),
    /// From a `tokenizer.json`.
    Json(Box<JsonEngine>),
}

impl Engine {
    /// The ids of a text, without special tokens.
    ///
    /// # Errors
    /// If the engine cannot express the text.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Published(published) => published.encode(text),
            Self::Json(engine) => engine.encode(text),
        }
    }

    /// The text of some ids; special tokens and ids outside the vocabulary add nothing.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        match self {
            Self::Published(published) => {
                let mut assembler = published.assembler();
                ids.iter().for_each(|&id| assembler.push(id));
                assembler.finish()
            }
            Self::Json(engine) => engine.decode(ids),
        }
    }

    /// What a token adds to a text in which others stand before it; `None` for one that is no text.
    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self {
            Self::Published(published) => published.token_bytes(id),
            Self::Json(engine) => engine.token_bytes(id),
        }
    }

    /// Whether whitespace is written as ChatGLM-6B's markers.
    pub(super) fn marks_whitespace(&self) -> bool {
        match self {
            Self::Published(published) => published.marks_whitespace(),
            Self::Json(_) => false,
        }
    }

    /// One more than the highest id.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Published(published) => published.size(),
            Self::Json(engine) => engine.size(),
        }
    }
}

impl From<Published> for Engine {
    fn from(published: Published) -> Self {
        Self::Published(published)
    }
}

impl From<JsonEngine> for Engine {
    fn from(engine: JsonEngine) -> Self {
        Self::Json(Box::new(engine))
    }
}

//! What an engine is asked for, and what it tells of it.

use std::time::Duration;

use crate::generation::{Constraint, Drawing, Finish};

/// A prompt and what to do with it.
pub struct Request {
    /// The adapter that acts on it, by its name; none for the base.
    pub adapter: Option<String>,
    /// Its tokens, special ones included.
    pub prompt: Vec<u32>,
    /// What to do.
    pub task: Task,
    /// Who is told.
    pub listener: Box<dyn Listener>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No token: what people ask is nobody's who reads a log.
        f.debug_struct("Request")
            .field("adapter", &self.adapter)
            .field("tokens", &self.prompt.len())
            .finish_non_exhaustive()
    }
}

/// Who is told of a request. Everything comes from the engine's thread, which must not be kept waiting.
pub trait Listener: Send {
    /// Something has happened.
    fn tell(&mut self, event: Event);

    /// Whether nobody listens any more: the request then ends within a step, and is told nothing.
    fn is_gone(&self) -> bool;
}

/// What to do with a prompt.
#[derive(Debug)]
pub enum Task {
    /// Continue it.
    Continue(Box<Continuation>),
    /// The mean of its tokens' hidden states after the final norm.
    Embed,
}

impl Task {
    /// Most tokens that it adds.
    pub fn max_new_tokens(&self) -> usize {
        match self {
            Self::Continue(continuation) => continuation.max_new_tokens,
            Self::Embed => 0,
        }
    }
}

/// One continuation of a prompt.
#[derive(Debug)]
pub struct Continuation {
    /// Most tokens to add; with 0 the prompt is computed and scored, no more.
    pub max_new_tokens: usize,
    /// Before this many tokens, none of the stop tokens is drawn.
    pub min_new_tokens: usize,
    /// How tokens are drawn.
    pub drawing: Drawing,
    /// Tokens that end it; the one that does is not a part of it.
    pub stop_ids: Vec<u32>,
    /// Whether each new token is told with its log probability, and with those of how many of the likeliest.
    pub scores: Option<usize>,
    /// Whether the tokens of the prompt are told likewise.
    pub scores_prompt: bool,
    /// What it may look like.
    pub constraint: Option<Constraint>,
}

/// How likely a token was, by the model's own logits: temperature, penalties and constraints are not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// Natural logarithm of its probability.
    pub log_probability: f32,
    /// The likeliest tokens at its place with theirs, in descending order.
    pub likeliest: Vec<(u32, f32)>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Event {
    /// Its prompt is computed; so many of its tokens were there from earlier requests.
    Started {
        /// Tokens of the prompt that were not computed again.
        cached: usize,
    },
    /// The scores of the prompt's tokens, one for each; the first token has none.
    PromptScores(Vec<Option<TokenScore>>),
    /// A token more.
    Token {
        /// The token.
        token: u32,
        /// Its score, if it was asked for.
        score: Option<TokenScore>,
    },
    /// The token that ends it was drawn: not a part of the continuation, but told where scores are asked for. Its end
    /// follows.
    EndToken {
        /// The token.
        token: u32,
        /// Its score.
        score: TokenScore,
    },
    /// The continuation has ended. The last event.
    Ended(Finish),
    /// The embedding, `[hidden]`. The last event.
    Embedding(Vec<f32>),
    /// It failed. The last event.
    Failed(Failure),
}

/// Why a request that was taken was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request cannot be done.
    #[error("{0}")]
    Request(String),
    /// The computation failed.
    #[error("{0}")]
    Computation(String),
    /// The engine ends before it is done.
    #[error("the server is shutting down")]
    Stopping,
    /// Its adapter was unloaded.
    #[error("the model was unloaded")]
    Unloaded,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No adapter has this name.
    #[error("no adapter `{0}` is loaded")]
    UnknownAdapter(String),
    /// The prompt, with what may follow it, is longer than the model or the cache allow.
    #[error("{tokens} tokens (prompt and answer) are more than the {limit} that fit")]
    TooLong {
        /// Tokens of prompt and continuation.
        tokens: usize,
        /// Most that fit.
        limit: usize,
    },
    /// It cannot be done.
    #[error("{0}")]
    Request(String),
    /// As many requests wait as may.
    #[error("{waiting} requests are waiting already; try again in {} s", retry_after.as_secs().max(1))]
    Full {
        /// Requests that wait.
        waiting: usize,
        /// When to try again, by how long requests took of late.
        retry_after: Duration,
    },
    /// The engine is ending.
    #[error("the server is shutting down")]
    Stopping,
}

//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use glmtune_model::generation::Grammars;
use glmtune_model::model_info::ModelSource;
use glmtune_model::tokenizer::{Mode, PromptFormat, Tokenizer};

use super::defaults::Defaults;
use super::engine::Engine;
use super::error::ApiError;
use super::metrics::Metrics;
use super::models::Models;
use super::random::Numbers;
use super::settings::Settings;
use tokio::sync::Semaphore;

/// Most texts of which tokens are made at once.
const ENCODERS: usize = 4;
/// How much shorter normalization may make a text: a wide letter of three bytes becomes a plain one.
const SHRINKS: usize = 4;

/// Bytes of the longest text whose tokens may fit in a sequence.
fn longest_text(tokenizer: &Tokenizer, tokens: usize) -> usize {
    let ids = 0..tokenizer.vocab_size() as u32;
    let lengths = ids.filter_map(|id| tokenizer.token_bytes(id).map(|bytes| bytes.len()));
    let longest = lengths.max().unwrap_or(1).max(1);
    tokens.saturating_mul(longest).saturating_mul(SHRINKS)
}

/// The model that is served, without its weights.
#[derive(Debug)]
pub struct Served {
    /// Its directory, and what goes on it.
    pub source: ModelSource,
    /// How questions become prompts, if that was asked for.
    pub prompt_format: Option<PromptFormat>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Prompt format of the family.
    pub mode: Mode,
    /// Tokens at which an answer ends.
    pub stop_ids: Vec<u32>,
    /// How answers are drawn when a request does not say.
    pub defaults: Defaults,
}

/// What all requests share.
pub struct State {
    /// What bounds the server.
    pub settings: Settings,
    /// The model.
    pub served: Served,
    /// Its names.
    pub models: Models,
    /// What does the work.
    pub engine: Arc<dyn Engine>,
    /// What is counted.
    pub metrics: Metrics,
    /// Seeds of requests that bring none.
    pub seeds: Numbers,
    /// Ids of answers.
    pub ids: Numbers,
    /// Places of those who make tokens of texts.
    pub encoders: Arc<Semaphore>,
    /// Bytes of the longest text that may fit.
    longest_text: usize,
    /// Made when an answer first must have a form.
    grammars: OnceLock<Option<Grammars>>,
    is_draining: AtomicBool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("settings", &self.settings)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

impl State {
    /// The state of a server that begins.
    pub fn new(
        settings: Settings,
        served: Served,
        models: Models,
        engine: Arc<dyn Engine>,
    ) -> Self {
        Self {
            encoders: Arc::new(Semaphore::new(ENCODERS)),
            longest_text: longest_text(&served.tokenizer, engine.limits().max_sequence),
            seeds: Numbers::new(settings.seed),
            ids: Numbers::new(None),
            metrics: Metrics::new(),
            settings,
            served,
            models,
            engine,
            grammars: OnceLock::new(),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Refuses texts that cannot fit before tokens are made of them, which takes a hundred times their memory.
    ///
    /// # Errors
    /// 400 if they have more bytes than the tokens of a sequence can hold.
    pub fn check_length(&self, bytes: usize) -> Result<(), ApiError> {
        if bytes <= self.longest_text {
            return Ok(());
        }
        let limit = self.engine.limits().max_sequence;
        let message = format!("a text of {bytes} bytes is more than the {limit} tokens that fit");
        let error = ApiError::new(StatusCode::BAD_REQUEST, message);
        Err(error.with_code("context_length_exceeded"))
    }

    /// What makes forms of answers; `None` if the tokenizer does not allow it. The first call takes a while.
    pub fn grammars(&self) -> Option<&Grammars> {
        let make = || {
            let served = &self.served;
            let vocabulary = self.engine.limits().vocabulary;
            let made = Grammars::new(&served.tokenizer, served.mode, vocabulary, &served.stop_ids);
            made.inspect_err(|error| tracing::error!("answers can have no form: {error}"))
                .ok()
        };
        self.grammars.get_or_init(make).as_ref()
    }

    /// From here on, new requests are refused.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether new requests are refused.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }
}

//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use glmtune_model::generation::Grammars;
use glmtune_model::model_info::ModelSource;
use glmtune_model::tokenizer::{Mode, PromptFormat, Tokenizer};

use super::defaults::Defaults;
use super::engine::Engine;
use super::metrics::Metrics;
use super::models::Models;
use super::random::Numbers;
use super::settings::Settings;

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

//! From a request to what the engine is asked for.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use glmtune_model::engine::{Continuation, Request, Task};
use glmtune_model::generation::{AnswerForm, Constraint};

use super::answers::Watch;
use super::error::ApiError;
use super::listener::Events;
use super::models::ServedModel;
use super::params::Params;
use super::record::Record;
use super::state::State;

/// Most answers to one prompt that must have a form: each keeps its place in the form's grammar.
const MOST_FORMED: usize = 16;

/// Prompts and how they are to be continued.
#[derive(Debug)]
pub struct Job {
    /// By which model.
    pub model: Arc<ServedModel>,
    /// The prompts.
    pub prompts: Vec<Vec<u32>>,
    /// How answers are drawn, and where they end.
    pub params: Params,
    /// Most tokens of an answer, if the request says so; else as many as `usual` and the model allow.
    pub max_tokens: Option<usize>,
    /// Most tokens of an answer when the request does not say.
    pub usual: usize,
    /// Whether tokens are scored, and with how many of the likeliest.
    pub scores: Option<usize>,
    /// Whether the prompts' tokens are scored, too.
    pub scores_prompt: bool,
    /// What answers must look like, if not like text.
    pub form: Option<AnswerForm>,
}

impl Job {
    /// Tokens of all prompts.
    pub fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }

    /// The prompt of each answer, in the order of the answers.
    pub fn each_prompt(&self) -> impl Iterator<Item = &Vec<u32>> {
        let n = self.params.n;
        self.prompts
            .iter()
            .flat_map(move |prompt| std::iter::repeat_n(prompt, n))
    }

    /// Asks the engine.
    ///
    /// # Errors
    /// If it cannot take one of the answers; then it takes none.
    pub fn submit(&self, state: &State) -> Result<Events, ApiError> {
        let limits = state.engine.limits();
        let count = self.prompts.len() * self.params.n;
        if count > limits.max_waiting.max(1) {
            let most = limits.max_waiting;
            let message = format!("{count} answers are more than the {most} that may wait");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
        }
        self.check_form()?;
        let seed = self.params.seed.unwrap_or_else(|| state.seeds.next());
        let (events, listeners) = Events::new(count);
        for (number, (prompt, listener)) in self.each_prompt().zip(listeners).enumerate() {
            let constraint = self.constraint(state)?;
            let continuation = Continuation {
                constraint,
                ..self.continuation(state, prompt.len(), (seed, number))
            };
            state.engine.submit(Request {
                adapter: self.model.adapter.clone(),
                prompt: prompt.clone(),
                task: Task::Continue(Box::new(continuation)),
                listener,
            })?;
        }
        Ok(events)
    }

    fn check_form(&self) -> Result<(), ApiError> {
        if self.form.is_none() {
            return Ok(());
        }
        if self.params.n > MOST_FORMED {
            let message = format!("`n`: at most {MOST_FORMED} answers with a form or tools");
            return Err(ApiError::field("n", message));
        }
        match self.params.min_tokens {
            0 => Ok(()),
            _ => Err(ApiError::field(
                "min_tokens",
                "`min_tokens` cannot be had with a form or tools, which say where an answer ends",
            )),
        }
    }

    /// What keeps an answer to its form.
    fn constraint(&self, state: &State) -> Result<Option<Constraint>, ApiError> {
        let Some(form) = &self.form else {
            return Ok(None);
        };
        let field = match form {
            AnswerForm::Tools { .. } => "tools",
            AnswerForm::Json | AnswerForm::JsonSchema(_) => "response_format",
        };
        let grammars = state.grammars().ok_or_else(|| {
            let message = format!("`{field}`: the tokenizer of this model does not allow it");
            ApiError::field(field, message)
        })?;
        match grammars.constraint(form) {
            Ok(constraint) => Ok(Some(constraint)),
            Err(glmtune_model::Error::Request(message)) => Err(ApiError::field(field, message)),
            Err(error) => {
                tracing::error!("a form cannot be made: {error}");
                Err(ApiError::internal())
            }
        }
    }

    fn continuation(
        &self,
        state: &State,
        prompt: usize,
        (seed, number): (u64, usize),
    ) -> Continuation {
        let left = state.engine.limits().max_sequence.saturating_sub(prompt);
        // A prompt that leaves no place for a token is refused as too long.
        let usual = self.usual.min(left).max(1);
        let max_new_tokens = self.max_tokens.unwrap_or(usual);
        Continuation {
            max_new_tokens,
            min_new_tokens: self.params.min_tokens.min(max_new_tokens),
            drawing: self.params.drawing(seed, number % self.params.n.max(1)),
            stop_ids: state.served.stop_ids.clone(),
            scores: self.scores,
            scores_prompt: self.scores_prompt,
            constraint: None,
        }
    }
}

/// Who watches how long the answers to a request take.
pub fn watch<'a>(state: &'a State, record: &Arc<Record>) -> Watch<'a> {
    let limit = state.settings.request_timeout;
    // A limit beyond all clocks is none.
    let deadline = record.began().checked_add(limit);
    Watch {
        deadline: deadline
            .unwrap_or_else(|| Instant::now() + std::time::Duration::from_secs(86_400)),
        metrics: &state.metrics,
        record: record.clone(),
    }
}

/// Makes tokens of texts where it keeps nobody waiting; no more than a few requests at a time, since a text takes much
/// memory meanwhile.
///
/// # Errors
/// As `work`; 500 if it panics.
pub async fn encoding<T: Send + 'static>(
    state: &Arc<State>,
    work: impl FnOnce(&State) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let own = state.clone();
    // Nobody closes it.
    let place = state.encoders.clone().acquire_owned().await;
    let work = move || {
        // It goes on when the client has left, and keeps its place as long.
        let _place = place;
        work(&own)
    };
    aside(work).await
}

/// Runs what may take long where it keeps nobody waiting.
///
/// # Errors
/// As `work`; 500 if it panics.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::internal()))
}

//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use glmtune_model::generation::Finish;
use serde_json::{Value, json};

use crate::serve::answers::{Answers, Form, Update, continuation_stream};
use crate::serve::body::JsonBody;
use crate::serve::choice::finish_reason;
use crate::serve::envelope::Envelope;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::job::{Job, encoding, watch};
use crate::serve::listener::Events;
use crate::serve::logprobs::{self, ScoredToken};
use crate::serve::named::model_of;
use crate::serve::params::{MOST_TOKENS, Params};
use crate::serve::prompts;
use crate::serve::record::Record;
use crate::serve::state::State;
use crate::serve::stream::{Broken, Sink, respond};
use crate::serve::usage::Usage;

/// Most of the likeliest tokens beside each token.
const MOST_LIKELIEST: u32 = 5;
/// Most tokens of an answer when the request does not say, as OpenAI's API has it.
const USUAL_TOKENS: usize = 16;

/// What a completion asks for.
struct Completion {
    job: Job,
    /// Whether the prompt is repeated before its continuation.
    echo: bool,
    envelope: Envelope,
}

/// Continues prompts.
pub async fn complete(
    Shared(state): Shared<Arc<State>>,
    Extension(record): Extension<Arc<Record>>,
    JsonBody(fields): JsonBody,
) -> Result<Response, ApiError> {
    let read = move |state: &State| {
        let completion = Completion::read(fields, state)?;
        let events = completion.job.submit(state)?;
        Ok((completion, events))
    };
    let (completion, events) = encoding(&state, read).await?;
    match completion.job.params.stream {
        false => completion.whole(&state, events, &record).await,
        true => {
            let (stall, keep_alive) = (state.settings.stall_timeout, state.settings.keep_alive);
            let produce = |sink| completion.streamed(state, events, record, sink);
            Ok(respond(produce, stall, keep_alive))
        }
    }
}

impl Completion {
    fn read(mut fields: Fields, state: &State) -> Result<Self, ApiError> {
        let model = model_of(&mut fields, state)?;
        let prompt = fields.require("prompt")?;
        let vocabulary = state.engine.limits().vocabulary;
        let params = Params::take(&mut fields, &state.served.defaults, vocabulary)?;
        let echo = fields.boolean("echo")?.unwrap_or(false);
        // A prompt may be scored without a continuation.
        let max_tokens = fields.count("max_tokens", u32::from(!echo)..=MOST_TOKENS)?;
        let scores = fields.count("logprobs", 0..=MOST_LIKELIEST)?;
        let adds_special = fields.boolean("add_special_tokens")?.unwrap_or(true);
        let is_of_one = |value: &Value| matches!(value.as_u64(), Some(best) if best == 1 || best == params.n as u64);
        fields.refuse_unless("best_of", is_of_one)?;
        fields.refuse_unless("suffix", |value| value == "")?;
        fields.finish()?;
        if state.settings.logs_prompts {
            tracing::info!(%prompt, "prompt");
        }
        Ok(Self {
            job: Job {
                model,
                prompts: prompts::read(state, "prompt", prompt, adds_special)?,
                params,
                max_tokens,
                usual: USUAL_TOKENS,
                scores,
                scores_prompt: echo && scores.is_some(),
                form: None,
            },
            echo,
            envelope: Envelope::new(state, "cmpl"),
        })
    }

    fn answers<'a>(
        &'a self,
        state: &'a State,
        events: Events,
        record: &Arc<Record>,
    ) -> Answers<'a> {
        let forms = self.job.each_prompt().map(|prompt| Form {
            stream: continuation_stream(&state.served.tokenizer, prompt, self.echo),
            reader: None,
            stop: &self.job.params.stop,
            echo: self.echo.then_some(prompt.as_slice()),
            scores_prompt: self.job.scores_prompt,
            scores_end: true,
        });
        let counts = (self.job.params.n, self.job.prompt_tokens());
        Answers::new(events, forms, counts, watch(state, record))
    }

    /// The answer when all of it is there.
    async fn whole(
        &self,
        state: &State,
        events: Events,
        record: &Arc<Record>,
    ) -> Result<Response, ApiError> {
        let count = self.job.each_prompt().count();
        let mut texts = vec![String::new(); count];
        let mut scores: Vec<Vec<ScoredToken>> = vec![Vec::new(); count];
        let mut finishes = vec![None; count];
        let mut answers = self.answers(state, events, record);
        while let Some(update) = answers.next().await? {
            match update {
                Update::Piece {
                    number,
                    text,
                    scores: more,
                } => {
                    texts[number].push_str(&text);
                    scores[number].extend(more);
                }
                // Only chats have tools.
                Update::Call { .. } | Update::Arguments { .. } => {}
                Update::Ended { number, finish } => finishes[number] = Some(finish),
            }
        }
        let choices = (0..count).map(|number| {
            let logprobs = self.logprobs(state, &scores[number]);
            choice(number, &texts[number], logprobs, finishes[number])
        });
        let body = self.body("text_completion", choices.collect(), Some(answers.usage()));
        Ok(Json(body).into_response())
    }

    /// The answer as it comes.
    async fn streamed(
        self,
        state: Arc<State>,
        events: Events,
        record: Arc<Record>,
        sink: Sink,
    ) -> Result<(), Broken> {
        let mut answers = self.answers(&state, events, &record);
        loop {
            let update = tokio::select! {
                update = answers.next() => update?,
                () = sink.closed() => return Err(Broken::Gone),
            };
            let Some(update) = update else { break };
            sink.send(&self.chunk(&state, update)).await?;
        }
        if self.job.params.include_usage {
            sink.send(&self.usage_chunk(answers.usage())).await?;
        }
        Ok(sink.done().await?)
    }

    fn chunk(&self, state: &State, update: Update) -> Value {
        let choice = match update {
            Update::Piece {
                number,
                text,
                scores,
            } => choice(number, &text, self.logprobs(state, &scores), None),
            Update::Call { number, .. } | Update::Arguments { number, .. } => {
                choice(number, "", Value::Null, None)
            }
            Update::Ended { number, finish } => choice(number, "", Value::Null, Some(finish)),
        };
        let mut chunk = self.body("text_completion", vec![choice], None);
        if self.job.params.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn usage_chunk(&self, usage: Usage) -> Value {
        self.body("text_completion", Vec::new(), Some(usage))
    }

    fn body(&self, object: &str, choices: Vec<Value>, usage: Option<Usage>) -> Value {
        let kind = (object, self.job.model.name.as_str());
        self.envelope.around(kind, choices, usage)
    }

    fn logprobs(&self, state: &State, scores: &[ScoredToken]) -> Value {
        match self.job.scores {
            Some(_) => logprobs::completion(&state.served.tokenizer, scores),
            None => Value::Null,
        }
    }
}

fn choice(index: usize, text: &str, logprobs: Value, finish: Option<Finish>) -> Value {
    json!({
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": finish.map(finish_reason),
    })
}

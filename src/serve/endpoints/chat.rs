//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use glmtune_model::tokenizer::tools::{AnswerReader, Tool, tools_message};
use glmtune_model::tokenizer::{Message, Role};
use serde_json::{Value, json};

use crate::serve::answers::{Answers, Form, Update};
use crate::serve::body::JsonBody;
use crate::serve::choice::{Choice, arguments_delta, call_delta};
use crate::serve::envelope::Envelope;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::job::{Job, encoding, watch};
use crate::serve::listener::Events;
use crate::serve::logprobs::{self, ScoredToken};
use crate::serve::messages;
use crate::serve::named::model_of;
use crate::serve::params::{MOST_TOKENS, Params};
use crate::serve::prompts::chat_prompt;
use crate::serve::record::Record;
use crate::serve::state::State;
use crate::serve::stream::{Broken, Sink, respond};
use crate::serve::tools::Asked;
use crate::serve::usage::Usage;

/// Most of the likeliest tokens beside each token.
const MOST_LIKELIEST: u32 = 20;

/// What a chat asks for.
struct Chat {
    job: Job,
    /// What may be called.
    tools: Vec<Tool>,
    envelope: Envelope,
}

/// Answers a conversation.
pub async fn complete(
    Shared(state): Shared<Arc<State>>,
    Extension(record): Extension<Arc<Record>>,
    JsonBody(fields): JsonBody,
) -> Result<Response, ApiError> {
    let read = move |state: &State| {
        let chat = Chat::read(fields, state)?;
        let events = chat.job.submit(state)?;
        Ok((chat, events))
    };
    let (chat, events) = encoding(&state, read).await?;
    match chat.job.params.stream {
        false => chat.whole(&state, events, &record).await,
        true => {
            let (stall, keep_alive) = (state.settings.stall_timeout, state.settings.keep_alive);
            let produce = |sink| chat.streamed(state, events, record, sink);
            Ok(respond(produce, stall, keep_alive))
        }
    }
}

impl Chat {
    fn read(mut fields: Fields, state: &State) -> Result<Self, ApiError> {
        let model = model_of(&mut fields, state)?;
        let messages = messages::read(state.served.mode, fields.require("messages")?)?;
        let vocabulary = state.engine.limits().vocabulary;
        let params = Params::take(&mut fields, &state.served.defaults, vocabulary)?;
        let max_tokens = max_tokens(&mut fields)?;
        let scores = scores(&mut fields)?;
        let asked = Asked::take(&mut fields)?;
        refuse_what_is_not_done(&mut fields)?;
        fields.finish()?;
        log_prompt(state, &messages);
        let messages = with_tools(state, messages, &asked.tools)?;
        let prompt = chat_prompt(state, &model, &messages)?;
        Ok(Self {
            job: Job {
                model,
                prompts: vec![prompt],
                params,
                max_tokens,
                usual: state.served.defaults.max_tokens,
                scores,
                scores_prompt: false,
                form: asked.form,
            },
            tools: asked.tools,
            envelope: Envelope::new(state, "chatcmpl"),
        })
    }

    fn answers<'a>(
        &'a self,
        state: &'a State,
        events: Events,
        record: &Arc<Record>,
    ) -> Answers<'a> {
        let served = &state.served;
        let has_tools = !self.tools.is_empty();
        let forms = (0..self.job.params.n).map(|_| Form {
            stream: match has_tools {
                // The line of the role, which the reader looks at, is part of it.
                true => served.tokenizer.decode_stream().into(),
                false => served.tokenizer.answer_stream(served.mode),
            },
            reader: has_tools.then(|| AnswerReader::new(served.mode, &self.tools)),
            stop: &self.job.params.stop,
            echo: None,
            scores_prompt: false,
            scores_end: false,
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
        let mut choices: Vec<Choice> = (0..self.job.params.n).map(|_| Choice::default()).collect();
        let mut answers = self.answers(state, events, record);
        while let Some(update) = answers.next().await? {
            match update {
                Update::Piece {
                    number,
                    text,
                    scores,
                } => choices[number].add(&text, scores),
                Update::Call { number, name } => choices[number].call(call_id(state), name),
                Update::Arguments { number, text } => choices[number].add_arguments(&text),
                Update::Ended { number, finish } => choices[number].end(finish),
            }
        }
        let choices = choices.iter().enumerate();
        let choices: Vec<Value> = choices
            .map(|(index, choice)| {
                json!({
                    "index": index,
                    "message": choice.message(),
                    "logprobs": self.logprobs(state, choice.scores()),
                    "finish_reason": choice.reason(),
                })
            })
            .collect();
        let body = self.body("chat.completion", choices, Some(answers.usage()));
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
        for index in 0..self.job.params.n {
            let delta = json!({"role": "assistant", "content": "", "refusal": null});
            sink.send(&self.chunk(index, delta, Value::Null, None))
                .await?;
        }
        // Of each answer, only whether it is a call matters here.
        let mut choices: Vec<Choice> = (0..self.job.params.n).map(|_| Choice::default()).collect();
        let mut answers = self.answers(&state, events, &record);
        loop {
            let update = tokio::select! {
                update = answers.next() => update?,
                () = sink.closed() => return Err(Broken::Gone),
            };
            let Some(update) = update else { break };
            sink.send(&self.chunk_of(&state, update, &mut choices))
                .await?;
        }
        if self.job.params.include_usage {
            sink.send(&self.usage_chunk(answers.usage())).await?;
        }
        Ok(sink.done().await?)
    }

    fn chunk_of(&self, state: &State, update: Update, choices: &mut [Choice]) -> Value {
        match update {
            Update::Piece {
                number,
                text,
                scores,
            } => {
                let logprobs = self.logprobs(state, &scores);
                self.chunk(number, json!({"content": text}), logprobs, None)
            }
            Update::Call { number, name } => {
                let id = call_id(state);
                let delta = call_delta(&id, &name);
                choices[number].call(id, name);
                self.chunk(number, delta, Value::Null, None)
            }
            Update::Arguments { number, text } => {
                self.chunk(number, arguments_delta(&text), Value::Null, None)
            }
            Update::Ended { number, finish } => {
                choices[number].end(finish);
                self.chunk(number, json!({}), Value::Null, choices[number].reason())
            }
        }
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value, reason: Option<&str>) -> Value {
        let choice = json!({
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": reason,
        });
        let mut chunk = self.body("chat.completion.chunk", vec![choice], None);
        if self.job.params.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn usage_chunk(&self, usage: Usage) -> Value {
        self.body("chat.completion.chunk", Vec::new(), Some(usage))
    }

    fn body(&self, object: &str, choices: Vec<Value>, usage: Option<Usage>) -> Value {
        let kind = (object, self.job.model.name.as_str());
        self.envelope.around(kind, choices, usage)
    }

    fn logprobs(&self, state: &State, scores: &[ScoredToken]) -> Value {
        match self.job.scores {
            Some(_) => logprobs::chat(&state.served.tokenizer, scores),
            None => Value::Null,
        }
    }
}

fn call_id(state: &State) -> String {
    state.ids.id("call").replacen('-', "_", 1)
}

/// The conversation of a model that is told of tools: in its system message.
fn with_tools(
    state: &State,
    mut messages: Vec<Message>,
    tools: &[Tool],
) -> Result<Vec<Message>, ApiError> {
    if tools.is_empty() {
        return Ok(messages);
    }
    let first = messages.first();
    let system = first.filter(|message| message.role == Role::System);
    let system = system.map(|message| message.content.as_str());
    let told = tools_message(state.served.mode, tools, system);
    let told = told.map_err(|error| ApiError::field("tools", error.to_string()))?;
    match system.is_some() {
        true => messages[0] = told,
        false => messages.insert(0, told),
    }
    Ok(messages)
}

/// The newer name counts.
fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let old = fields.count("max_tokens", 1..=MOST_TOKENS)?;
    let new = fields.count("max_completion_tokens", 1..=MOST_TOKENS)?;
    Ok(new.or(old))
}

fn scores(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let is_scored = fields.boolean("logprobs")?.unwrap_or(false);
    let likeliest = fields.count("top_logprobs", 0..=MOST_LIKELIEST)?;
    match (is_scored, likeliest) {
        (true, likeliest) => Ok(Some(likeliest.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::field(
            "top_logprobs",
            "`top_logprobs` needs `logprobs` to be true",
        )),
    }
}

fn refuse_what_is_not_done(fields: &mut Fields) -> Result<(), ApiError> {
    fields.refuse_unless("modalities", |value| *value == json!(["text"]))?;
    fields.refuse_unless("functions", |value| *value == json!([]))?;
    fields.refuse_unless("function_call", |value| value == "none")
}

fn log_prompt(state: &State, messages: &[Message]) {
    if state.settings.logs_prompts {
        for message in messages {
            tracing::info!(role = ?message.role, content = ?message.content, "message");
        }
    }
}

//! `POST /v1/chat/completions`.

use std::sync::Arc;

use glmtune_model::tokenizer::tools::{AnswerReader, Tool, tools_message};
use glmtune_model::tokenizer::{Message, Role};
use serde_json::{Value, json};

use crate::serve::answers::{Answers, Form, Update};
use crate::serve::choice::{Choice, arguments_delta, call_delta};
use crate::serve::envelope::Envelope;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::generating::Generating;
use crate::serve::job::{Job, watch};
use crate::serve::listener::Events;
use crate::serve::logprobs::{self, ScoredToken};
use crate::serve::messages;
use crate::serve::named::model_of;
use crate::serve::params::{MOST_TOKENS, Params};
use crate::serve::prompts::chat_prompt;
use crate::serve::record::Record;
use crate::serve::state::State;
use crate::serve::tools::Asked;

/// Most of the likeliest tokens beside each token.
const MOST_LIKELIEST: u32 = 20;

/// What a chat asks for.
pub struct Chat {
    job: Job,
    /// What may be called.
    tools: Vec<Tool>,
    envelope: Envelope,
}

impl Generating for Chat {
    type Answer = Choice;
    const WHOLE: &'static str = "chat.completion";
    const PIECE: &'static str = "chat.completion.chunk";

    fn job(&self) -> &Job {
        &self.job
    }

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

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

    fn add(state: &State, answer: &mut Choice, update: Update) {
        match update {
            Update::Piece { text, scores, .. } => answer.add(&text, scores),
            Update::Call { name, .. } => answer.call(call_id(state), name),
            Update::Arguments { text, .. } => answer.add_arguments(&text),
            Update::Ended { finish, .. } => answer.end(finish),
        }
    }

    fn choice(&self, state: &State, index: usize, answer: &Choice) -> Value {
        json!({
            "index": index,
            "message": answer.message(),
            "logprobs": self.logprobs(state, answer.scores()),
            "finish_reason": answer.reason(),
        })
    }

    fn opening(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        Some(piece(index, delta, Value::Null, None))
    }

    /// Of an answer that is streamed, only whether it is a call matters later.
    fn piece(&self, state: &State, answer: &mut Choice, update: Update) -> Value {
        match update {
            Update::Piece {
                number,
                text,
                scores,
            } => {
                let logprobs = self.logprobs(state, &scores);
                piece(number, json!({"content": text}), logprobs, None)
            }
            Update::Call { number, name } => {
                let id = call_id(state);
                let delta = call_delta(&id, &name);
                answer.call(id, name);
                piece(number, delta, Value::Null, None)
            }
            Update::Arguments { number, text } => {
                piece(number, arguments_delta(&text), Value::Null, None)
            }
            Update::Ended { number, finish } => {
                answer.end(finish);
                piece(number, json!({}), Value::Null, answer.reason())
            }
        }
    }
}

impl Chat {
    fn logprobs(&self, state: &State, scores: &[ScoredToken]) -> Value {
        match self.job.scores {
            Some(_) => logprobs::chat(&state.served.tokenizer, scores),
            None => Value::Null,
        }
    }
}

fn piece(index: usize, delta: Value, logprobs: Value, reason: Option<&str>) -> Value {
    json!({
        "index": index,
        "delta": delta,
        "logprobs": logprobs,
        "finish_reason": reason,
    })
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

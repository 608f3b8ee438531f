//! What the endpoints that generate have in common: the request is read, the engine asked, and what it tells is
//! answered whole or as it comes.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::answers::{Answers, Update};
use super::body::JsonBody;
use super::envelope::Envelope;
use super::error::ApiError;
use super::fields::Fields;
use super::job::{Job, encoding};
use super::listener::Events;
use super::record::Record;
use super::state::State;
use super::stream::{Broken, Sink, respond};
use super::usage::Usage;

/// A request whose answers are generated. Choices are the objects that hold one answer, or a piece of one.
pub trait Generating: Sized + Send + Sync + 'static {
    /// One answer, as far as it has come.
    type Answer: Default + Send;

    /// Kind of the object around whole answers.
    const WHOLE: &'static str;

    /// Kind of the object around a piece.
    const PIECE: &'static str;

    /// Reads a request.
    ///
    /// # Errors
    /// 400 or 404 that names the field that cannot be used.
    fn read(fields: Fields, state: &State) -> Result<Self, ApiError>;

    /// What the engine is asked for.
    fn job(&self) -> &Job;

    /// What stands around the choices.
    fn envelope(&self) -> &Envelope;

    /// The answers that `events` tell of.
    fn answers<'a>(&'a self, state: &'a State, events: Events, record: &Arc<Record>)
    -> Answers<'a>;

    /// Adds to an answer that is given whole.
    fn add(state: &State, answer: &mut Self::Answer, update: Update);

    /// The choice of a whole answer.
    fn choice(&self, state: &State, index: usize, answer: &Self::Answer) -> Value;

    /// The choice with which the stream of an answer begins, if not with its first piece.
    fn opening(&self, _index: usize) -> Option<Value> {
        None
    }

    /// The choice of a piece; `answer` remembers what later pieces depend on.
    fn piece(&self, state: &State, answer: &mut Self::Answer, update: Update) -> Value;
}

/// Answers a request.
pub async fn complete<G: Generating>(
    Shared(state): Shared<Arc<State>>,
    Extension(record): Extension<Arc<Record>>,
    JsonBody(fields): JsonBody,
) -> Result<Response, ApiError> {
    let read = move |state: &State| {
        let asked = G::read(fields, state)?;
        let events = asked.job().submit(state)?;
        Ok((asked, events))
    };
    let (asked, events) = encoding(&state, read).await?;
    match asked.job().params.stream {
        false => whole(&asked, &state, events, &record).await,
        true => {
            let (stall, keep_alive) = (state.settings.stall_timeout, state.settings.keep_alive);
            let produce = |sink| streamed(asked, state, events, record, sink);
            Ok(respond(produce, stall, keep_alive))
        }
    }
}

/// The answers when all of them are there.
async fn whole<G: Generating>(
    asked: &G,
    state: &State,
    events: Events,
    record: &Arc<Record>,
) -> Result<Response, ApiError> {
    let mut collected = nothing(asked);
    let mut answers = asked.answers(state, events, record);
    while let Some(update) = answers.next().await? {
        G::add(state, &mut collected[update.number()], update);
    }
    let choices = collected.iter().enumerate();
    let choices = choices.map(|(index, answer)| asked.choice(state, index, answer));
    let body = around(asked, G::WHOLE, choices.collect(), Some(answers.usage()));
    Ok(Json(body).into_response())
}

/// The answers as they come.
async fn streamed<G: Generating>(
    asked: G,
    state: Arc<State>,
    events: Events,
    record: Arc<Record>,
    sink: Sink,
) -> Result<(), Broken> {
    let mut collected = nothing(&asked);
    for index in 0..collected.len() {
        if let Some(opening) = asked.opening(index) {
            sink.send(&chunk(&asked, opening)).await?;
        }
    }
    let mut answers = asked.answers(&state, events, &record);
    loop {
        let update = tokio::select! {
            update = answers.next() => update?,
            () = sink.closed() => return Err(Broken::Gone),
        };
        let Some(update) = update else { break };
        let piece = asked.piece(&state, &mut collected[update.number()], update);
        sink.send(&chunk(&asked, piece)).await?;
    }
    if asked.job().params.include_usage {
        let usage = Some(answers.usage());
        sink.send(&around(&asked, G::PIECE, Vec::new(), usage))
            .await?;
    }
    Ok(sink.done().await?)
}

/// The answers before anything of them has come.
fn nothing<G: Generating>(asked: &G) -> Vec<G::Answer> {
    let each = asked.job().each_prompt();
    each.map(|_| G::Answer::default()).collect()
}

fn chunk<G: Generating>(asked: &G, choice: Value) -> Value {
    let mut chunk = around(asked, G::PIECE, vec![choice], None);
    if asked.job().params.include_usage {
        chunk["usage"] = Value::Null;
    }
    chunk
}

fn around<G: Generating>(
    asked: &G,
    object: &str,
    choices: Vec<Value>,
    usage: Option<Usage>,
) -> Value {
    let kind = (object, asked.job().model.name.as_str());
    asked.envelope().around(kind, choices, usage)
}

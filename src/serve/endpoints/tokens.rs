//! `POST /tokenize` and `POST /detokenize`, as vLLM has them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::serve::body::JsonBody;
use crate::serve::error::ApiError;
use crate::serve::fields::Fields;
use crate::serve::job::{aside, encoding};
use crate::serve::messages;
use crate::serve::named::model_or_base;
use crate::serve::prompts::{chat_prompt, encode};
use crate::serve::state::State;
use crate::serve::token_text::token_text;

/// The tokens of a text or of a conversation.
pub async fn tokenize(
    Shared(state): Shared<Arc<State>>,
    JsonBody(fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let read = move |state: &State| tokens(fields, state);
    encoding(&state, read).await.map(Json)
}

fn tokens(mut fields: Fields, state: &State) -> Result<Value, ApiError> {
    let model = model_or_base(&mut fields, state)?;
    let text = fields.text("prompt")?;
    let conversation = fields.take("messages");
    let with_names = fields.boolean("return_token_strs")?.unwrap_or(false);
    let adds_special = fields.boolean("add_special_tokens")?;
    // A conversation is told of as it is asked: with the token after which the answer begins.
    fields.refuse_unless("add_generation_prompt", |value| *value == Value::Bool(true))?;
    fields.finish()?;
    let ids = match (text, conversation) {
        (Some(text), None) => encode(state, "prompt", &text, adds_special.unwrap_or(true))?,
        (None, Some(messages)) => {
            chat_prompt(state, &model, &messages::read(state.served.mode, messages)?)?
        }
        _ => {
            let message = "give either `prompt` or `messages`";
            return Err(ApiError::field("prompt", message));
        }
    };
    let name = |&id: &u32| token_text(&state.served.tokenizer, id).text;
    let names: Option<Vec<String>> = with_names.then(|| ids.iter().map(name).collect());
    Ok(json!({
        "count": ids.len(),
        "max_model_len": state.engine.limits().max_sequence,
        "tokens": ids,
        "token_strs": names,
    }))
}

/// The text of tokens.
pub async fn detokenize(
    Shared(state): Shared<Arc<State>>,
    JsonBody(fields): JsonBody,
) -> Result<Json<Value>, ApiError> {
    aside(move || text(fields, &state)).await.map(Json)
}

fn text(mut fields: Fields, state: &State) -> Result<Value, ApiError> {
    model_or_base(&mut fields, state)?;
    let tokens = fields
        .list("tokens")?
        .ok_or_else(|| fields.missing("tokens"))?;
    fields.finish()?;
    let ids = match tokens.is_empty() {
        true => Vec::new(),
        false => crate::serve::prompts::ids("tokens", &tokens)?,
    };
    Ok(json!({"prompt": state.served.tokenizer.decode(&ids)}))
}

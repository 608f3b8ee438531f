//! From what requests hold to the tokens of prompts.

use glmtune_model::tokenizer::Message;
use serde_json::Value;

use super::error::ApiError;
use super::fields::expected;
use super::models::ServedModel;
use super::state::State;

/// Most prompts of a request.
const MOST_PROMPTS: usize = 2048;

/// The prompt of a conversation.
///
/// # Errors
/// 400 if the conversation does not fit the family's form.
pub fn chat_prompt(
    state: &State,
    model: &ServedModel,
    messages: &[Message],
) -> Result<Vec<u32>, ApiError> {
    state.check_length(messages.iter().map(|message| message.content.len()).sum())?;
    let prompt = model.prompting.prompt(&state.served.tokenizer, messages);
    prompt
        .map(|prompt| prompt.ids)
        .map_err(|error| match error {
            glmtune_model::Error::Request(message) => ApiError::field("messages", message),
            other => failed("messages", &other),
        })
}

/// The prompts of a field: a text, token ids, or a list of either.
///
/// # Errors
/// 400 if it holds something else, or too many.
pub fn read(
    state: &State,
    field: &'static str,
    value: Value,
    adds_special: bool,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let what = "a string, a list of strings, a list of token ids, or a list of such lists";
    let prompts = match value {
        Value::String(text) => vec![encode(state, field, &text, adds_special)?],
        Value::Array(values) => match values.first() {
            Some(Value::Number(_)) => vec![ids(field, &values)?],
            _ => several(state, field, values, adds_special)?,
        },
        other => return Err(expected(field, what, &other)),
    };
    match prompts.len() {
        1..=MOST_PROMPTS => Ok(prompts),
        count => Err(ApiError::field(
            field,
            format!("`{field}`: {count} prompts, where 1 to {MOST_PROMPTS} can be"),
        )),
    }
}

fn several(
    state: &State,
    field: &'static str,
    values: Vec<Value>,
    adds_special: bool,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let one = |value: Value| match value {
        Value::String(text) => encode(state, field, &text, adds_special),
        Value::Array(values) => ids(field, &values),
        other => Err(expected(field, "strings or lists of token ids", &other)),
    };
    values.into_iter().take(MOST_PROMPTS + 1).map(one).collect()
}

/// Token ids; whether the vocabulary has them is for the engine to say.
///
/// # Errors
/// 400 if there are none, or something else.
pub fn ids(field: &'static str, values: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| expected(field, "token ids", value))
    };
    let ids: Vec<u32> = values.iter().map(id).collect::<Result<_, _>>()?;
    match ids.is_empty() {
        true => Err(ApiError::field(
            field,
            format!("`{field}`: a prompt has no tokens"),
        )),
        false => Ok(ids),
    }
}

/// The tokens of a text, with those that every prompt of the family has or without.
///
/// # Errors
/// 400 if the tokenizer cannot express it, or it has no tokens.
pub fn encode(
    state: &State,
    field: &'static str,
    text: &str,
    adds_special: bool,
) -> Result<Vec<u32>, ApiError> {
    state.check_length(text.len())?;
    let served = &state.served;
    let ids = match adds_special {
        true => served.tokenizer.raw_prompt(served.mode, text),
        false => served.tokenizer.encode(text),
    };
    ids.map_err(|error| failed(field, &error))
}

/// What went wrong names the tokenizer's file: that is for the log.
fn failed(field: &'static str, error: &glmtune_model::Error) -> ApiError {
    tracing::warn!("a prompt cannot be made: {error}");
    let message = format!("`{field}`: the model's tokenizer cannot make a prompt of this");
    ApiError::field(field, message)
}

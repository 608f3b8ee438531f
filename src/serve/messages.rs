//! The messages of a chat.

use glmtune_model::tokenizer::{Message, Role};
use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, expected};

/// The messages of a request.
///
/// # Errors
/// 400 that names the message and its field.
pub fn read(messages: Value) -> Result<Vec<Message>, ApiError> {
    let Value::Array(messages) = messages else {
        return Err(expected("messages", "a list", &messages));
    };
    if messages.is_empty() {
        let message = "`messages` must have at least one message";
        return Err(ApiError::field("messages", message));
    }
    let numbered = messages.into_iter().enumerate();
    numbered.map(|(at, message)| one(message, at)).collect()
}

fn one(message: Value, at: usize) -> Result<Message, ApiError> {
    let mut fields = Fields::of(message, format!("messages[{at}]"))?;
    let Some(role) = fields.text("role")? else {
        return Err(fields.missing("role"));
    };
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Observation,
        _ => {
            let message = "a role must be system, developer, user, assistant or tool";
            return Err(ApiError::field(fields.name("role"), message));
        }
    };
    match role {
        // The result's place in the conversation says which call it is of.
        Role::Observation => fields.ignore(&["tool_call_id", "name"]),
        Role::Assistant => assistant(&mut fields)?,
        Role::System | Role::User => {}
    }
    let content = content(&mut fields)?;
    let Some(content) = content else {
        return Err(fields.missing("content"));
    };
    fields.finish()?;
    Ok(Message::new(role, content))
}

/// Fields that an answer of this API has, and that clients send back with it.
fn assistant(fields: &mut Fields) -> Result<(), ApiError> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    for field in [
        "tool_calls",
        "annotations",
        "refusal",
        "audio",
        "function_call",
    ] {
        fields.refuse_unless(field, is_empty)?;
    }
    Ok(())
}

/// A text, or parts that are texts, each on lines of its own.
fn content(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let name = fields.name("content");
    match fields.take("content") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Array(parts)) => {
            let numbered = parts.into_iter().enumerate();
            let texts = numbered.map(|(at, part)| text_part(part, format!("{name}[{at}]")));
            Ok(Some(texts.collect::<Result<Vec<_>, _>>()?.join("\n")))
        }
        Some(other) => Err(expected(&name, "a string or a list of parts", &other)),
    }
}

fn text_part(part: Value, at: String) -> Result<String, ApiError> {
    let mut fields = Fields::of(part, at)?;
    let kind = fields.text("type")?;
    if kind.as_deref() != Some("text") {
        let message =
            "only parts of type `text` can be read: the models know no images, audio or files";
        return Err(ApiError::field(fields.name("type"), message));
    }
    let Some(text) = fields.text("text")? else {
        return Err(fields.missing("text"));
    };
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_and_parts() {
        let messages = read(json!([
            {"role": "developer", "content": "be short"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "annotations": [], "tool_calls": null},
            {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        ]));
        let expected = [
            Message::new(Role::System, "be short"),
            Message::new(Role::User, "a\nb"),
            Message::new(Role::Assistant, "c"),
            Message::new(Role::Observation, "42"),
        ];
        assert_eq!(messages.unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (messages, param) in [
            (json!("hi"), "messages"),
            (json!([]), "messages"),
            (json!([1]), "messages[0]"),
            (json!([{"content": "a"}]), "messages[0].role"),
            (
                json!([{"role": "king", "content": "a"}]),
                "messages[0].role",
            ),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": 1}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": "a", "nmae": "b"}]),
                "messages[0].nmae",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "messages[0].content[0].type",
            ),
        ] {
            let error = read(messages).unwrap_err();
            assert_eq!(error.body()["error"]["param"], param);
        }
    }
}

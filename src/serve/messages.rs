//! The messages of a chat.

use glmtune_model::tokenizer::tools::{ToolCall, call_message, result_message};
use glmtune_model::tokenizer::{Message, Mode, Role};
use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, expected};

/// The messages of a request, as the family has them: each call of a tool is followed by its result.
///
/// # Errors
/// 400 that names the message and its field.
pub fn read(mode: Mode, messages: Value) -> Result<Vec<Message>, ApiError> {
    let Value::Array(messages) = messages else {
        return Err(expected("messages", "a list", &messages));
    };
    if messages.is_empty() {
        let message = "`messages` must have at least one message";
        return Err(ApiError::field("messages", message));
    }
    let mut conversation = Conversation::default();
    for (at, message) in messages.into_iter().enumerate() {
        conversation.add(turn(mode, message, at)?);
    }
    conversation.settle();
    Ok(conversation.messages)
}

/// One message of a request.
enum Turn {
    Said(Message),
    /// What an assistant said, and its calls with their ids.
    Called(Option<Message>, Vec<(String, Message)>),
    /// The result of the call with an id.
    Result(Option<String>, Message),
}

/// The messages so far.
#[derive(Default)]
struct Conversation {
    messages: Vec<Message>,
    /// Calls whose results have not come.
    open: Vec<(String, Message)>,
}

impl Conversation {
    fn add(&mut self, turn: Turn) {
        match turn {
            Turn::Said(message) => {
                self.settle();
                self.messages.push(message);
            }
            Turn::Called(text, calls) => {
                self.settle();
                self.messages.extend(text);
                self.open = calls;
            }
            Turn::Result(id, message) => {
                let is_it = |call: &(String, Message)| id.as_ref().is_none_or(|id| call.0 == *id);
                if let Some(at) = self.open.iter().position(is_it) {
                    self.messages.push(self.open.remove(at).1);
                }
                self.messages.push(message);
            }
        }
    }

    /// Calls without a result stand where they were made.
    fn settle(&mut self) {
        let open = self.open.drain(..);
        self.messages.extend(open.map(|(_, message)| message));
    }
}

fn turn(mode: Mode, message: Value, at: usize) -> Result<Turn, ApiError> {
    let mut fields = Fields::of(message, format!("messages[{at}]"))?;
    let Some(role) = fields.text("role")? else {
        return Err(fields.missing("role"));
    };
    let turn = match role.as_str() {
        "system" | "developer" => Turn::Said(said(&mut fields, Role::System)?),
        "user" => Turn::Said(said(&mut fields, Role::User)?),
        "assistant" => assistant(mode, &mut fields)?,
        "tool" => {
            let id = fields.text("tool_call_id")?;
            fields.ignore(&["name"]);
            let result = said(&mut fields, Role::Observation)?;
            Turn::Result(id, result_message(mode, &result.content))
        }
        _ => {
            let message = "a role must be system, developer, user, assistant or tool";
            return Err(ApiError::field(fields.name("role"), message));
        }
    };
    fields.finish()?;
    Ok(turn)
}

fn said(fields: &mut Fields, role: Role) -> Result<Message, ApiError> {
    match content(fields)? {
        Some(content) => Ok(Message::new(role, content)),
        None => Err(fields.missing("content")),
    }
}

/// Text, calls, or both; and fields that an answer of this API has, which clients send back with it.
fn assistant(mode: Mode, fields: &mut Fields) -> Result<Turn, ApiError> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    for field in ["annotations", "refusal", "audio", "function_call"] {
        fields.refuse_unless(field, is_empty)?;
    }
    let calls = fields.list("tool_calls")?.unwrap_or_default();
    let at = fields.name("tool_calls");
    let numbered = calls.into_iter().enumerate();
    let calls: Vec<_> = numbered
        .map(|(number, call)| one_call(mode, call, &format!("{at}[{number}]")))
        .collect::<Result<_, _>>()?;
    if calls.is_empty() {
        return Ok(Turn::Said(said(fields, Role::Assistant)?));
    }
    let text = content(fields)?.filter(|text| !text.is_empty());
    let text = text.map(|text| Message::new(Role::Assistant, text));
    Ok(Turn::Called(text, calls))
}

fn one_call(mode: Mode, call: Value, at: &str) -> Result<(String, Message), ApiError> {
    let mut fields = Fields::of(call, at)?;
    let id = fields.text("id")?.unwrap_or_default();
    fields.refuse_unless("type", |kind| kind == "function")?;
    // The place of a call in a stream, which some clients keep.
    fields.ignore(&["index"]);
    let Some(mut function) = fields.object("function")? else {
        return Err(fields.missing("function"));
    };
    fields.finish()?;
    let name = function
        .text("name")?
        .ok_or_else(|| function.missing("name"))?;
    let arguments = function.text("arguments")?;
    let arguments = arguments.ok_or_else(|| function.missing("arguments"))?;
    function.finish()?;
    // What the parser says would repeat them.
    if !serde_json::from_str(&arguments).is_ok_and(|value: Value| value.is_object()) {
        let message = format!("`{at}`: the arguments are not a JSON object");
        return Err(ApiError::field(at, message));
    }
    let call = ToolCall { name, arguments };
    let message = call_message(mode, &call);
    let message = message.map_err(|error| ApiError::field(at, error.to_string()))?;
    Ok((id, message))
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

    fn read(messages: Value) -> Result<Vec<Message>, ApiError> {
        super::read(Mode::Glm4, messages)
    }

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
    fn each_call_is_followed_by_its_result() {
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        let messages = read(json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [call("1", "a"), call("2", "b"), call("3", "c")]},
            {"role": "tool", "tool_call_id": "2", "content": "rb"},
            {"role": "tool", "tool_call_id": "1", "content": "ra"},
            {"role": "user", "content": "r"},
        ]));
        let messages = messages.unwrap();
        let told: Vec<(Role, &str, &str)> = messages
            .iter()
            .map(|message| {
                (
                    message.role,
                    message.metadata.as_str(),
                    message.content.as_str(),
                )
            })
            .collect();
        let expected = [
            (Role::User, "", "q"),
            (Role::Assistant, "b", "{}"),
            (Role::Observation, "", "rb"),
            (Role::Assistant, "a", "{}"),
            (Role::Observation, "", "ra"),
            (Role::Assistant, "c", "{}"),
            (Role::User, "", "r"),
        ];
        assert_eq!(told, expected);
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
                json!([{"role": "assistant", "tool_calls": [{}]}]),
                "messages[0].tool_calls[0].function",
            ),
            (
                json!([{"role": "assistant",
                        "tool_calls": [{"function": {"name": "a", "arguments": "no JSON"}}]}]),
                "messages[0].tool_calls[0]",
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

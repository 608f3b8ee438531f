//! Tools, calls and results as messages.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::literal;
use super::tool::{Tool, ToolCall, check_name, check_tools};
use crate::error::{Error, Result};
use crate::tokenizer::mode::Mode;
use crate::tokenizer::prompt::{Message, Role};

/// What ChatGLM3 was taught to read before its tools.
const CHATGLM3: &str =
    "Answer the following questions as best as you can. You have access to the following tools:";
/// What GLM-4 is told of itself before its tools, where the conversation has nothing else to say.
const GLM4: &str = "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，你的任务是针对用户的\
                    问题和要求提供适当的答复和支持。";
/// What stands before GLM-4's tools, and after each of them.
const GLM4_TOOLS: &str = "# 可用工具";
const GLM4_TOOL_END: &str = "在调用上述函数时，请使用 Json 格式表示调用的参数。";

/// The name of the function that ChatGLM3 calls, whichever the tool.
const CALL: &str = "tool_call";
/// What is around the arguments of ChatGLM3's calls.
pub(crate) const BLOCK_START: &str = "```python\ntool_call(";
pub(crate) const BLOCK_END: &str = ")\n```";

/// The system message that tells a model of its tools. What the conversation's own system message says, if it has one,
/// comes before them: the published code of ChatGLM3 drops it, that of GLM-4 has a sentence about the model there.
///
/// # Errors
/// [`Error::Request`] if the family has no tools, or as [`check_tools`].
pub fn tools_message(mode: Mode, tools: &[Tool], system: Option<&str>) -> Result<Message> {
    check_mode(mode)?;
    check_tools(tools)?;
    let system = system.filter(|text| !text.is_empty());
    let content = match mode {
        Mode::Glm4 => {
            let mut content = format!("{}\n\n{GLM4_TOOLS}", system.unwrap_or(GLM4));
            for tool in tools {
                let described = indented(&description(tool))?;
                let name = &tool.name;
                content.push_str(&format!("\n\n## {name}\n\n{described}\n{GLM4_TOOL_END}"));
            }
            content
        }
        _ => {
            let before = system.map(|text| format!("{text}\n\n")).unwrap_or_default();
            let tools = tools.iter().map(description).collect();
            format!("{before}{CHATGLM3}\n{}", indented(&Value::Array(tools))?)
        }
    };
    Ok(Message::new(Role::System, content))
}

/// The assistant's message that calls a tool. Arguments whose names are no identifiers are JSON in ChatGLM3 too.
///
/// # Errors
/// [`Error::Request`] if the family has no tools, the name cannot be one, or the arguments are not a JSON object.
pub fn call_message(mode: Mode, call: &ToolCall) -> Result<Message> {
    check_mode(mode)?;
    check_name(&call.name)?;
    let arguments: Map<String, Value> = serde_json::from_str(&call.arguments).map_err(|error| {
        let name = &call.name;
        Error::Request(format!(
            "the arguments of the call of `{name}` are not a JSON object: {error}"
        ))
    })?;
    let written = match mode {
        Mode::Glm4 => None,
        _ => literal::write_call(CALL, &arguments),
    };
    let content = match written {
        Some(call) => format!("```python\n{call}\n```"),
        None => call.arguments.trim().to_string(),
    };
    Ok(Message {
        role: Role::Assistant,
        metadata: call.name.clone(),
        content,
    })
}

/// The message that brings the result of a call; both families write it alike.
pub fn result_message(_mode: Mode, content: &str) -> Message {
    Message::new(Role::Observation, content)
}

fn check_mode(mode: Mode) -> Result<()> {
    match mode.has_roles() {
        true => Ok(()),
        false => Err(Error::Request(format!(
            "mode {mode} has no tools: they came with ChatGLM3 (modes glm3 and glm4)"
        ))),
    }
}

/// A tool as the families are told of it.
fn description(tool: &Tool) -> Value {
    let mut described = Map::new();
    described.insert("name".to_string(), tool.name.clone().into());
    if !tool.description.is_empty() {
        let text = tool.description.clone();
        described.insert("description".to_string(), text.into());
    }
    if !tool.parameters.is_null() {
        described.insert("parameters".to_string(), tool.parameters.clone());
    }
    Value::Object(described)
}

/// JSON with four spaces for each level, as in training.
fn indented(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    let text = written.ok().and_then(|()| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Error::Request("a tool's description cannot be written".to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weather() -> Tool {
        Tool {
            name: "get_current_weather".to_string(),
            description: "Get the current weather in a given location".to_string(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state"},
                },
                "required": ["location"],
            }),
        }
    }

    const DESCRIBED: &str = r#"{
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state"
            }
        },
        "required": [
            "location"
        ]
    }
}"#;

    #[test]
    fn chatglm3_is_told_of_tools_by_a_list() {
        let message = tools_message(Mode::Glm3, &[weather()], None).unwrap();
        let indented = DESCRIBED.replace('\n', "\n    ");
        assert_eq!(message.content, format!("{CHATGLM3}\n[\n    {indented}\n]"));
        assert_eq!(message.role, Role::System);
        let message = tools_message(Mode::Glm3, &[weather()], Some("Be brief.")).unwrap();
        assert!(
            message
                .content
                .starts_with(&format!("Be brief.\n\n{CHATGLM3}\n["))
        );
    }

    #[test]
    fn glm4_is_told_of_tools_one_by_one() {
        let message = tools_message(Mode::Glm4, &[weather()], None).unwrap();
        let expected = format!(
            "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，你的任务是针对用户的问题和要求\
             提供适当的答复和支持。\n\n# 可用工具\n\n## get_current_weather\n\n{DESCRIBED}\n在调用上述函数时，请使用 Json \
             格式表示调用的参数。"
        );
        assert_eq!(message.content, expected);
        let message = tools_message(Mode::Glm4, &[weather()], Some("你是气象员。")).unwrap();
        assert!(
            message
                .content
                .starts_with("你是气象员。\n\n# 可用工具\n\n## get")
        );
    }

    #[test]
    fn calls_are_written_as_each_family_writes_them() {
        let call = ToolCall {
            name: "get_current_weather".to_string(),
            arguments: r#"{"location": "北京", "days": 3, "exact": true}"#.to_string(),
        };
        let message = call_message(Mode::Glm3, &call).unwrap();
        assert_eq!(message.metadata, "get_current_weather");
        assert_eq!(
            message.content,
            format!("{BLOCK_START}location='北京', days=3, exact=True{BLOCK_END}")
        );
        let message = call_message(Mode::Glm4, &call).unwrap();
        assert_eq!(message.content, call.arguments);

        let arguments = r#"{"一": 1}"#.to_string();
        let unnamed = ToolCall { arguments, ..call };
        let message = call_message(Mode::Glm3, &unnamed).unwrap();
        assert_eq!(message.content, unnamed.arguments);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for mode in [Mode::Glm, Mode::Glm2] {
            assert!(tools_message(mode, &[weather()], None).is_err());
        }
        assert!(tools_message(Mode::Glm4, &[weather(), weather()], None).is_err());
        for name in ["", "a b", "a\nb", &"a".repeat(65)] {
            let tool = Tool {
                name: name.to_string(),
                ..weather()
            };
            assert!(tools_message(Mode::Glm4, &[tool], None).is_err(), "{name}");
        }
        let call = |arguments: &str| ToolCall {
            name: "f".to_string(),
            arguments: arguments.to_string(),
        };
        for arguments in ["", "[]", "{", "1"] {
            assert!(call_message(Mode::Glm3, &call(arguments)).is_err());
        }
    }
}

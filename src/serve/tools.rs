//! What a request says of tools, and of the form of its answers.

use glmtune_model::generation::AnswerForm;
use glmtune_model::tokenizer::tools::{Tool, ToolChoice};
use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, expected};

/// What a request says of the form of its answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// What may be called; nothing where calls are forbidden.
    pub tools: Vec<Tool>,
    /// What answers must look like, if not like text.
    pub form: Option<AnswerForm>,
}

impl Asked {
    /// Takes the fields.
    ///
    /// # Errors
    /// 400 that names the field that cannot be used.
    pub fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        // An answer has one call at most.
        fields.boolean("parallel_tool_calls")?;
        let tools = tools(fields)?;
        let choice = choice(fields, &tools)?;
        let format = format(fields)?;
        if tools.is_empty() || choice == ToolChoice::None {
            return Ok(Self {
                tools: Vec::new(),
                form: format,
            });
        }
        if format.is_some() {
            let message = "`response_format` and `tools` cannot be had together: give `tool_choice` none, or leave one out";
            return Err(ApiError::field("response_format", message));
        }
        let form = AnswerForm::Tools {
            tools: tools.clone(),
            choice,
        };
        Ok(Self {
            tools,
            form: Some(form),
        })
    }
}

fn tools(fields: &mut Fields) -> Result<Vec<Tool>, ApiError> {
    let tools = fields.list("tools")?.unwrap_or_default();
    let numbered = tools.into_iter().enumerate();
    numbered.map(|(at, tool)| one(tool, at)).collect()
}

fn one(tool: Value, at: usize) -> Result<Tool, ApiError> {
    let mut fields = Fields::of(tool, format!("tools[{at}]"))?;
    require_function(&mut fields)?;
    let Some(mut function) = fields.object("function")? else {
        return Err(fields.missing("function"));
    };
    fields.finish()?;
    let Some(name) = function.text("name")? else {
        return Err(function.missing("name"));
    };
    let description = function.text("description")?.unwrap_or_default();
    let parameters = function.take("parameters").unwrap_or_default();
    if !parameters.is_object() && !parameters.is_null() {
        return Err(expected(
            &function.name("parameters"),
            "an object",
            &parameters,
        ));
    }
    // Arguments follow their schema in any case, as far as its keywords are known.
    function.boolean("strict")?;
    function.finish()?;
    Ok(Tool {
        name,
        description,
        parameters,
    })
}

fn require_function(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.text("type")?.as_deref() {
        Some("function") => Ok(()),
        _ => Err(ApiError::field(
            fields.name("type"),
            "only tools of type `function` can be called",
        )),
    }
}

fn choice(fields: &mut Fields, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let choice = match fields.take("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => {
                let message = "`tool_choice` must be none, auto, required or a function";
                return Err(ApiError::field("tool_choice", message));
            }
        },
        Some(named) => named_choice(named)?,
    };
    let is_there = match &choice {
        ToolChoice::None | ToolChoice::Auto => true,
        ToolChoice::Required => !tools.is_empty(),
        ToolChoice::Named(name) => tools.iter().any(|tool| tool.name == *name),
    };
    match is_there {
        true => Ok(choice),
        false => Err(ApiError::field(
            "tool_choice",
            "`tool_choice` asks for a tool that is not among `tools`",
        )),
    }
}

fn named_choice(named: Value) -> Result<ToolChoice, ApiError> {
    let mut fields = Fields::of(named, "tool_choice")?;
    require_function(&mut fields)?;
    let Some(mut function) = fields.object("function")? else {
        return Err(fields.missing("function"));
    };
    fields.finish()?;
    let Some(name) = function.text("name")? else {
        return Err(function.missing("name"));
    };
    function.finish()?;
    Ok(ToolChoice::Named(name))
}

fn format(fields: &mut Fields) -> Result<Option<AnswerForm>, ApiError> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(None);
    };
    let form = match format.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(AnswerForm::Json),
        Some("json_schema") => Some(AnswerForm::JsonSchema(schema(&mut format)?)),
        _ => {
            let message = "`response_format.type` must be text, json_object or json_schema";
            return Err(ApiError::field("response_format.type", message));
        }
    };
    format.finish()?;
    Ok(form)
}

fn schema(format: &mut Fields) -> Result<Value, ApiError> {
    let Some(mut described) = format.object("json_schema")? else {
        return Err(format.missing("json_schema"));
    };
    // The schema is what an answer must satisfy, whatever it is called and whether it is said to be strict.
    described.text("name")?;
    described.text("description")?;
    described.boolean("strict")?;
    let schema = described.require("schema")?;
    described.finish()?;
    Ok(schema)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(body: Value) -> Result<Asked, ApiError> {
        let mut fields = Fields::of_body(body).unwrap();
        let asked = Asked::take(&mut fields)?;
        fields.finish()?;
        Ok(asked)
    }

    fn weather() -> Value {
        json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})
    }

    #[test]
    fn forms() {
        assert_eq!(take(json!({})).unwrap(), Asked::default());
        assert_eq!(
            take(json!({"response_format": {"type": "text"}})).unwrap(),
            Asked::default()
        );
        let asked = take(json!({"response_format": {"type": "json_object"}})).unwrap();
        assert_eq!(asked.form, Some(AnswerForm::Json));
        let format = json!({"type": "json_schema",
                            "json_schema": {"name": "n", "strict": true, "schema": {"type": "array"}}});
        let asked = take(json!({"response_format": format})).unwrap();
        assert_eq!(
            asked.form,
            Some(AnswerForm::JsonSchema(json!({"type": "array"})))
        );
    }

    #[test]
    fn choices() {
        let choice = |choice: Value| take(json!({"tools": [weather()], "tool_choice": choice}));
        let form_of = |asked: Asked| match asked.form {
            Some(AnswerForm::Tools { choice, .. }) => Some(choice),
            _ => None,
        };
        assert_eq!(
            form_of(choice(Value::Null).unwrap()),
            Some(ToolChoice::Auto)
        );
        assert_eq!(
            form_of(choice(json!("required")).unwrap()),
            Some(ToolChoice::Required)
        );
        let named = json!({"type": "function", "function": {"name": "weather"}});
        let expected = ToolChoice::Named("weather".to_string());
        assert_eq!(form_of(choice(named).unwrap()), Some(expected));
        // The model is not told of tools that it must not call.
        assert_eq!(choice(json!("none")).unwrap(), Asked::default());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (body, param) in [
            (json!({"tools": 1}), "tools"),
            (json!({"tools": [{"type": "web"}]}), "tools[0].type"),
            (
                json!({"tools": [{"type": "function"}]}),
                "tools[0].function",
            ),
            (
                json!({"tools": [{"type": "function", "function": {}}]}),
                "tools[0].function.name",
            ),
            (
                json!({"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]}),
                "tools[0].function.parameters",
            ),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (
                json!({"tools": [weather()], "tool_choice": "always"}),
                "tool_choice",
            ),
            (
                json!({"tools": [weather()],
                       "tool_choice": {"type": "function", "function": {"name": "time"}}}),
                "tool_choice",
            ),
            (
                json!({"response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
            ),
            (
                json!({"tools": [weather()], "response_format": {"type": "json_object"}}),
                "response_format",
            ),
        ] {
            let error = take(body).unwrap_err();
            assert_eq!(error.body()["error"]["param"], param);
        }
    }
}

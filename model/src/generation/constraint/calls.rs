//! Grammars of tool calls, as the families write them.
//!
//! GLM-4's arguments are JSON of the tool's schema. ChatGLM3's are the keywords of a Python call, `tool_call(city='北京',
//! days=3)`, where the schema is of a kind that can be written so: an object whose properties are texts, numbers, booleans,
//! null, lists of those, enumerations, or of no stated type, without further conditions. Properties then come in the
//! schema's order, those that are not required may be missing, and no others are added. Arguments of any other schema are
//! JSON in ChatGLM3 too.

use serde_json::{Map, Value};

use super::schema;
use crate::error::Result;
use crate::tokenizer::Mode;
use crate::tokenizer::tools::{BLOCK_END, BLOCK_START, Tool, is_identifier, write_literal};

/// Literals of Python, in the engine's form of Lark. Numbers have an end: a model that likes a digit may like it for ever.
const LITERALS: &str = r#"
text: /'([^'\\\x00-\x1f\x7f]|\\['"\\nrt])*'/ | /"([^"\\\x00-\x1f\x7f]|\\['"\\nrt])*"/
integer: /-?(0|[1-9][0-9]{0,17})/
number: /-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?/
boolean: "True" | "False"
null: "None"
list: "[" (value (", " value)*)? "]"
dictionary: "{" (pair (", " pair)*)? "}"
pair: text ": " value
value: text | number | boolean | null | list | dictionary
"#;

/// Properties of a schema that say nothing about what satisfies it.
const ANNOTATIONS: [&str; 6] = [
    "description",
    "title",
    "default",
    "examples",
    "$schema",
    "$comment",
];

/// The grammar of a call of one of some tools; `first` is what may stand before its name.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) if a schema is not let through.
pub(super) fn grammar(mode: Mode, tools: &[&Tool], first: &str) -> Result<String> {
    let mut rules = Vec::new();
    let mut uses_literals = false;
    for (index, tool) in tools.iter().enumerate() {
        let name = literal(&format!("{}\n", tool.name));
        let parameters = match &tool.parameters {
            Value::Null => Value::Object(Map::new()),
            parameters => parameters.clone(),
        };
        let checked = schema::prepared(&parameters, true)?;
        let keywords = match mode {
            Mode::Glm4 => None,
            _ => keywords(index, &parameters),
        };
        // SentencePiece begins what stands after the line break with a space.
        let gap = if mode == Mode::Glm3 { "\" \"? " } else { "" };
        match keywords {
            Some(keywords) => {
                uses_literals = true;
                let (start, end) = (literal(BLOCK_START), literal(BLOCK_END));
                rules.push(format!(
                    "call{index}: {name} {gap}{start} first{index}x0 {end}"
                ));
                rules.extend(keywords);
            }
            None => {
                rules.push(format!("call{index}: {name} {gap}json{index}"));
                rules.push(format!("json{index}: %json {}", object(checked)));
            }
        }
    }
    let calls: Vec<String> = (0..tools.len())
        .map(|index| format!("call{index}"))
        .collect();
    let literals = if uses_literals { LITERALS } else { "" };
    let (calls, rules) = (calls.join(" | "), rules.join("\n"));
    Ok(format!(
        "start: {first}call\ncall: {calls}\n{rules}\n{literals}"
    ))
}

/// Arguments are an object, whether their schema says so or not.
fn object(mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.entry("type").or_insert_with(|| "object".into());
    }
    schema
}

/// A text in quotes, as Lark and JSON write it.
fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

/// The rules of the keywords of a call, if its schema is of the kind that can be written so. `first` is the rest of the
/// call where nothing stands before it, `next` where something does.
fn keywords(tool: usize, schema: &Value) -> Option<Vec<String>> {
    let schema = schema.as_object()?;
    for (key, value) in schema {
        let is_known = match key.as_str() {
            "type" => value == "object",
            "properties" => value.is_object(),
            "required" => value.is_array(),
            "additionalProperties" => value.is_boolean(),
            key => ANNOTATIONS.contains(&key),
        };
        if !is_known {
            return None;
        }
    }
    let none = Map::new();
    let properties = match schema.get("properties") {
        Some(properties) => properties.as_object()?,
        None => &none,
    };
    let required = match schema.get("required") {
        Some(required) => {
            let names: Option<Vec<&str>> = required.as_array()?.iter().map(Value::as_str).collect();
            names?
        }
        None => Vec::new(),
    };
    if required.iter().any(|name| !properties.contains_key(*name)) {
        return None;
    }
    let mut rules = Vec::new();
    for (index, (name, schema)) in properties.iter().enumerate() {
        if !is_identifier(name) {
            return None;
        }
        let value = value(schema)?;
        let (this, after) = (
            format!("{tool}x{index}"),
            format!("next{tool}x{}", index + 1),
        );
        let key = literal(&format!("{name}="));
        let is_optional = !required.contains(&name.as_str());
        let without = |rule: &str| match is_optional {
            true => format!(" | {rule}{tool}x{}", index + 1),
            false => String::new(),
        };
        rules.push(format!("item{this}: {key} ({value})"));
        rules.push(format!(
            "first{this}: item{this} {after}{}",
            without("first")
        ));
        rules.push(format!(
            "next{this}: \", \" item{this} {after}{}",
            without("next")
        ));
    }
    let end = properties.len();
    rules.push(format!("first{tool}x{end}: \"\""));
    rules.push(format!("next{tool}x{end}: \"\""));
    Some(rules)
}

/// The rule of a value, if its schema is of the kind that can be written so.
fn value(schema: &Value) -> Option<String> {
    let schema = match schema {
        Value::Bool(true) => return Some("value".to_string()),
        schema => schema.as_object()?,
    };
    let stated: Vec<&str> = schema
        .keys()
        .map(String::as_str)
        .filter(|key| !ANNOTATIONS.contains(key))
        .collect();
    match stated.as_slice() {
        [] => Some("value".to_string()),
        ["type"] => kinds(schema.get("type")?),
        ["enum"] | ["type", "enum"] | ["enum", "type"] => {
            let values = schema.get("enum")?.as_array()?;
            constants(values)
        }
        ["const"] | ["type", "const"] | ["const", "type"] => {
            constants(std::slice::from_ref(schema.get("const")?))
        }
        ["type", "items"] | ["items", "type"] => {
            let item = value(schema.get("items")?)?;
            let is_list = schema.get("type")? == "array";
            is_list.then(|| format!("\"[\" (({item}) (\", \" ({item}))*)? \"]\""))
        }
        _ => None,
    }
}

fn kinds(kinds: &Value) -> Option<String> {
    match kinds {
        Value::String(kind) => kind_rule(kind).map(str::to_string),
        Value::Array(kinds) if !kinds.is_empty() => {
            let rules: Option<Vec<&str>> =
                kinds.iter().map(|kind| kind_rule(kind.as_str()?)).collect();
            Some(rules?.join(" | "))
        }
        _ => None,
    }
}

fn kind_rule(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "string" => "text",
        "integer" => "integer",
        "number" => "number",
        "boolean" => "boolean",
        "null" => "null",
        "array" => "list",
        "object" => "dictionary",
        _ => return None,
    })
}

fn constants(values: &[Value]) -> Option<String> {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    if values.is_empty() || !values.iter().all(is_scalar) {
        return None;
    }
    let mut written = Vec::new();
    for value in values {
        written.push(literal(&write_literal(value)));
        // The other quotes, where nothing has to be escaped.
        let text = value.as_str().unwrap_or_default();
        let is_plain = |c: char| !c.is_control() && !matches!(c, '\'' | '"' | '\\');
        if value.is_string() && text.chars().all(is_plain) {
            written.push(literal(&format!("\"{text}\"")));
        }
    }
    Some(written.join(" | "))
}

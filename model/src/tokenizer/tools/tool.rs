//! Tools, calls of them, and what may be asked of a model that has them.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::{Error, Result};

/// Tools of one request.
const TOOLS: usize = 128;
/// Bytes of a tool's name.
const NAME_BYTES: usize = 64;

/// A function that a model may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name, which stands on the line of the role in a call.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// JSON schema of its arguments, an object; null where it has none.
    pub parameters: Value,
}

/// Whether a model must call a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// Answers with text.
    None,
    /// Text or a call.
    Auto,
    /// A call of any tool.
    Required,
    /// A call of this one.
    Named(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Which tool.
    pub name: String,
    /// JSON text of its arguments: an object, unless the answer was cut short.
    pub arguments: String,
}

/// Checks that calls of some tools can be told apart and from text.
///
/// # Errors
/// [`Error::Request`] that names the tool.
pub fn check_tools(tools: &[Tool]) -> Result<()> {
    if tools.len() > TOOLS {
        let count = tools.len();
        return Err(Error::Request(format!(
            "{count} tools: at most {TOOLS} can be offered"
        )));
    }
    let mut seen = HashSet::new();
    for tool in tools {
        check_name(&tool.name)?;
        if !seen.insert(&tool.name) {
            let name = &tool.name;
            return Err(Error::Request(format!("the tool `{name}` is there twice")));
        }
        if !matches!(tool.parameters, Value::Object(_) | Value::Null) {
            let name = &tool.name;
            return Err(Error::Request(format!(
                "the parameters of the tool `{name}` are not a JSON schema: expected an object"
            )));
        }
    }
    Ok(())
}

/// Checks that a name can stand on the line of a role.
///
/// # Errors
/// [`Error::Request`] if it cannot.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if (1..=NAME_BYTES).contains(&name.len()) && name.chars().all(is_part) {
        return Ok(());
    }
    Err(Error::Request(format!(
        "`{name}` cannot be a tool's name: expected letters, digits and `_-./`, at most {NAME_BYTES} bytes"
    )))
}

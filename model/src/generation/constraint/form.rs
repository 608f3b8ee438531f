//! What answers may look like.

use serde_json::Value;

use crate::tokenizer::tools::{Tool, ToolChoice};

/// What answers may look like.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerForm {
    /// Any JSON object.
    Json,
    /// JSON that satisfies a schema.
    JsonSchema(Value),
    /// Text or calls of tools, as the family writes them. Schemas of parameters are followed as far as the engine knows
    /// their keywords.
    Tools {
        /// What may be called.
        tools: Vec<Tool>,
        /// Whether something must be.
        choice: ToolChoice,
    },
}

//! The names under which the parts of a row stand.

use serde::Serialize;

/// How the rows of a file are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowFormat {
    /// Key of what is asked, in place of `instruction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_column: Option<String>,
    /// Key of what is appended to it, in place of `input`. A row need not have `input`; it must have a key
    /// that was named here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_column: Option<String>,
    /// Key of the answer, in place of `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_column: Option<String>,
    /// Key of a conversation's earlier rounds, in place of `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_column: Option<String>,
    /// Stands before what is asked in every row.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt_text: String,
}

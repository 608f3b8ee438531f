//! Which form a row has, and the names under which its parts stand.

use serde::Serialize;

use super::object::Object;
use super::row::Row;
use super::{columns, conversation, ids};

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

impl RowFormat {
    /// Reads a row; what is wrong with it, if it cannot be read.
    pub(super) fn read(&self, object: &mut Object) -> Result<Row, String> {
        if object.has(ids::INPUT_IDS) {
            return ids::read(object, self);
        }
        let row = columns::read(object, self)?;
        conversation::refuse(object, self)?;
        Ok(row)
    }
}

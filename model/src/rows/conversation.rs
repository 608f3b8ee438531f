//! Keys that carry a part of a conversation: training on the rest of the row without them would teach
//! answers to questions that were not asked, so that they are refused and never left out.

use serde_json::Value;

use super::format::RowFormat;
use super::object::{Object, quoted};

/// Keys of such parts, and what to do with them.
const CARRIERS: [(&str, &str); 6] = [
    (
        "history",
        "earlier rounds are not trained on; put their text before `instruction`, or write every round as a row of \
         its own and leave the key out",
    ),
    (
        "system",
        "a system message is not trained on; put it before `instruction`, or give it as --prompt_text if it is \
         the same in every row",
    ),
    ("conversations", TURNS),
    ("conversation", TURNS),
    ("messages", TURNS),
    (
        "tools",
        "descriptions of tools are not trained on; put them before `instruction`",
    ),
];
const TURNS: &str = "turns are not trained on; write each question with its answer as a row {\"instruction\", \"output\"}";

/// Refuses a row with such a part, unless it was taken by another name or is empty.
pub(super) fn refuse(object: &Object, format: &RowFormat) -> Result<(), String> {
    let named = format.history_column.as_deref();
    let named = named.map(|name| (name, CARRIERS[0].1));
    let mut found = CARRIERS
        .into_iter()
        .chain(named)
        .filter_map(|(key, advice)| Some((key, object.get(key)?, advice)))
        .filter(|(_, value, _)| !is_empty(value));
    match found.next() {
        None => Ok(()),
        Some((key, value, advice)) => {
            Err(format!("key `{key}`: found {}; {advice}", quoted(value)))
        }
    }
}

/// Whether rows write a value for "none".
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

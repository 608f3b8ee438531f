//! Rows of ids, taken as they are.

use serde_json::Value;

use super::IGNORED;
use super::format::RowFormat;
use super::object::{Object, quoted};
use super::row::Row;
use super::row_use::RowUse;

/// The key that tells such a row.
pub(super) const INPUT_IDS: &str = "input_ids";
const LABELS: &str = "labels";

/// Reads a row of ids and takes its keys.
pub(super) fn read(
    object: &mut Object,
    format: &RowFormat,
    row_use: RowUse,
) -> Result<Row, String> {
    if !format.prompt_text.is_empty() {
        return Err(format!(
            "key `{INPUT_IDS}`: --prompt_text cannot stand before ids, which are taken as they are"
        ));
    }
    let input_ids = integers(object, INPUT_IDS)?.unwrap_or_default();
    let labels = match (integers(object, LABELS)?, row_use) {
        (Some(labels), _) => labels,
        (None, RowUse::Prediction) => vec![IGNORED; input_ids.len()],
        (None, RowUse::Training) => {
            return Err(format!("key `{LABELS}` is missing beside `{INPUT_IDS}`"));
        }
    };
    if labels.len() != input_ids.len() {
        return Err(format!(
            "key `{LABELS}` has {} entries, `{INPUT_IDS}` has {}; both must be of one length",
            labels.len(),
            input_ids.len()
        ));
    }
    let is_label =
        |label: &&i64| **label == IGNORED || i32::try_from(**label).is_ok_and(|id| id >= 0);
    if let Some(label) = labels.iter().find(|label| !is_label(label)) {
        return Err(format!(
            "key `{LABELS}`: {label} is neither a token id nor -100"
        ));
    }
    let ids = input_ids.into_iter().map(|id| {
        let fits = i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok());
        fits.ok_or_else(|| format!("key `{INPUT_IDS}`: {id} is not a token id"))
    });
    Ok(Row::Ids {
        input_ids: ids.collect::<Result<_, _>>()?,
        labels,
    })
}

fn integers(object: &mut Object, key: &str) -> Result<Option<Vec<i64>>, String> {
    let found = match object.take(key) {
        None => return Ok(None),
        Some(Value::Array(values)) => values,
        Some(other) => {
            return Err(format!(
                "key `{key}`: found {}, expected a list of ids",
                quoted(&other)
            ));
        }
    };
    let integer = |value: &Value| {
        value
            .as_i64()
            .ok_or_else(|| format!("key `{key}`: found {}, expected an id", quoted(value)))
    };
    found
        .iter()
        .map(integer)
        .collect::<Result<_, _>>()
        .map(Some)
}

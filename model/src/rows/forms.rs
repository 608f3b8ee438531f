//! Which form a row has: each is a file of its own.

use super::format::RowFormat;
use super::object::Object;
use super::row::Row;
use super::row_use::RowUse;
use super::{columns, conversation, ids};

/// Reads a row and takes its keys.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(
    object: &mut Object,
    format: &RowFormat,
    row_use: RowUse,
) -> Result<Row, String> {
    if object.has(ids::INPUT_IDS) {
        return ids::read(object, format, row_use);
    }
    let row = columns::read(object, format, row_use)?;
    conversation::refuse(object, format)?;
    Ok(row)
}

//! Rows of text: `instruction`, `input` and `output`, the `text` and `answer` of the Python project's first
//! release, or keys that the user names.

use super::format::RowFormat;
use super::object::Object;
use super::row::Row;
use super::row_use::RowUse;

/// The names of the parts of a row.
struct Columns<'a> {
    prompt: &'a str,
    query: Query<'a>,
    response: &'a str,
}

/// What is appended to the prompt.
enum Query<'a> {
    /// Nothing.
    None,
    /// A key that a row may have.
    Optional(&'a str),
    /// A key that was asked for by name.
    Named(&'a str),
}

const INSTRUCTION: &str = "instruction";
const INPUT: &str = "input";
const OUTPUT: &str = "output";
const TEXT: &str = "text";
const ANSWER: &str = "answer";

impl<'a> Columns<'a> {
    /// The names that the user gave or, without any, those that the row has.
    fn of(object: &Object, format: &'a RowFormat) -> Self {
        let RowFormat {
            prompt_column,
            query_column,
            response_column,
            ..
        } = format;
        let named = prompt_column.is_some() || query_column.is_some() || response_column.is_some();
        if !named && !object.has(INSTRUCTION) && object.has(TEXT) {
            return Self {
                prompt: TEXT,
                query: Query::None,
                response: ANSWER,
            };
        }
        Self {
            prompt: prompt_column.as_deref().unwrap_or(INSTRUCTION),
            query: match query_column {
                Some(name) => Query::Named(name),
                None => Query::Optional(INPUT),
            },
            response: response_column.as_deref().unwrap_or(OUTPUT),
        }
    }
}

/// Reads a row of text and takes its keys.
pub(super) fn read(
    object: &mut Object,
    format: &RowFormat,
    row_use: RowUse,
) -> Result<Row, String> {
    let columns = Columns::of(object, format);
    let mut question = format.prompt_text.clone();
    question += &required(object, columns.prompt, "--prompt_column")?;
    question += &query(object, columns.query)?;
    let answer = match row_use {
        RowUse::Training => required(object, columns.response, "--response_column")?,
        RowUse::Prediction => object.take_text(columns.response)?.unwrap_or_default(),
    };
    Ok(Row::Text { question, answer })
}

fn required(object: &mut Object, key: &str, flag: &str) -> Result<String, String> {
    object.take_text(key)?.ok_or_else(|| {
        format!(
            "key `{key}` is missing beside {}; a row has `{INSTRUCTION}`, `{INPUT}` and `{OUTPUT}`, or \
             `{TEXT}` and `{ANSWER}`, or `input_ids` and `labels`; {flag} names another key",
            object.listed_keys()
        )
    })
}

fn query(object: &mut Object, query: Query<'_>) -> Result<String, String> {
    match query {
        Query::None => Ok(String::new()),
        // Rows without an input are common where the instruction says it all.
        Query::Optional(key) => match object.take_text(key)? {
            Some(text) => Ok(text),
            None => refuse_near_name(object, key),
        },
        Query::Named(key) if object.keys().any(|found| found == key) => {
            Ok(object.take_text(key)?.unwrap_or_default())
        }
        Query::Named(key) => Err(format!(
            "key `{key}` is missing, which --query_column names; a row without it has null or \"\" there"
        )),
    }
}

/// `Input` or `inputs` in place of `input` would be left out of every row.
fn refuse_near_name(object: &Object, key: &str) -> Result<String, String> {
    let plain = |name: &str| name.trim().trim_end_matches('s').to_lowercase();
    let near = object
        .keys()
        .find(|found| *found != key && plain(found) == key);
    match near {
        None => Ok(String::new()),
        Some(found) => {
            let found = found.escape_debug();
            Err(format!(
                "key `{found}`: did you mean `{key}`? --query_column {found} takes it by this name"
            ))
        }
    }
}

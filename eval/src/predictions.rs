//! Rows of predictions: one JSON object per line, with the model's answer under `generated`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The key of the model's answer.
pub const GENERATED: &str = "generated";
/// Keys of what a model makes of a row: its answer, and how likely it takes the expected one to be.
const FOUND: [&str; 3] = [GENERATED, LOSS, TOKENS];
/// The key of the loss of the expected answer, the mean over its tokens.
pub const LOSS: &str = "loss";
/// The key of the number of these tokens.
pub const TOKENS: &str = "tokens";
/// Keys of the expected answer: that of today's rows, and that of the Python project's first release.
const REFERENCE: [&str; 2] = ["output", "answer"];
/// Keys of the text that an answer is about.
const DOCUMENT: [&str; 2] = ["text", "input"];
/// What some editors put before the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Longest line that is read, in bytes.
const LONGEST_LINE: u64 = 64 << 20;

/// A row of a file of predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    path: PathBuf,
    line: usize,
    fields: Map<String, Value>,
}

impl Prediction {
    /// A row as it stands in a line (counted from 1) of a file.
    ///
    /// # Errors
    /// If the line is not a JSON object.
    pub fn parse(path: &Path, line: usize, text: &str) -> Result<Self> {
        let row = |detail: String| Error::Row {
            path: path.to_path_buf(),
            line,
            detail,
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self {
                path: path.to_path_buf(),
                line,
                fields,
            }),
            Ok(_) => Err(row("a row is one JSON object".to_string())),
            Err(error) => Err(row(format!("not JSON: {error}"))),
        }
    }

    /// All keys and values of the row.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The row with a loss of its expected answer.
    pub fn with_loss(mut self, loss: f64) -> Self {
        self.fields.insert(LOSS.to_string(), loss.into());
        self
    }

    /// The answers: one, or as many as were asked for.
    ///
    /// # Errors
    /// If the row has none.
    pub fn generated(&self) -> Result<Vec<&str>> {
        match self.fields.get(GENERATED) {
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) if !items.is_empty() => items
                .iter()
                .map(|item| {
                    item.as_str().ok_or_else(|| {
                        self.wrong(format!("`{GENERATED}` holds {item}, which is not a string"))
                    })
                })
                .collect(),
            Some(_) => Err(self.wrong(format!(
                "`{GENERATED}` must be a string, or a list of strings that is not empty"
            ))),
            None => Err(self.wrong(format!(
                "no `{GENERATED}`; `glmtune predict` adds it to the rows of a file"
            ))),
        }
    }

    /// The expected answer.
    ///
    /// # Errors
    /// If the row has none.
    pub fn reference(&self) -> Result<&str> {
        self.text(&REFERENCE)
    }

    /// The text that the answers are about.
    ///
    /// # Errors
    /// If the row has none.
    pub fn document(&self) -> Result<&str> {
        self.text(&DOCUMENT)
    }

    /// A number of the row.
    ///
    /// # Errors
    /// If there is none, or it is not finite.
    pub fn number(&self, key: &str) -> Result<f64> {
        match self.fields.get(key).map(Value::as_f64) {
            Some(Some(number)) if number.is_finite() => Ok(number),
            Some(_) => Err(self.wrong(format!("`{key}` must be a finite number"))),
            None => Err(self.wrong(format!("no `{key}`"))),
        }
    }

    /// A text of the row; `None` if it has no such key.
    ///
    /// # Errors
    /// If it is not a text.
    pub fn optional_text(&self, key: &str) -> Result<Option<&str>> {
        match self.fields.contains_key(key) {
            true => self.text(&[key]).map(Some),
            false => Ok(None),
        }
    }

    /// A number of the row; `None` if it has no such key.
    ///
    /// # Errors
    /// If it is not a finite number.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        match self.fields.contains_key(key) {
            true => self.number(key).map(Some),
            false => Ok(None),
        }
    }

    /// Whether another row asks the same: all keys but those of what the models made of them are equal.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let question = |row: &Self| {
            let mut fields = row.fields.clone();
            fields.retain(|key, _| !FOUND.contains(&key.as_str()));
            fields
        };
        question(self) == question(other)
    }

    /// An error that names this row.
    pub fn wrong(&self, detail: impl Into<String>) -> Error {
        Error::Row {
            path: self.path.clone(),
            line: self.line,
            detail: detail.into(),
        }
    }

    fn text(&self, keys: &[&str]) -> Result<&str> {
        let found = keys
            .iter()
            .find_map(|key| Some((key, self.fields.get(*key)?)));
        match found {
            Some((_, Value::String(text))) => Ok(text),
            Some((key, _)) => Err(self.wrong(format!("`{key}` must be a string"))),
            None => Err(self.wrong(format!("no `{}`", keys.join("` or `")))),
        }
    }
}

/// Reads a file of predictions; empty lines are passed over.
///
/// # Errors
/// If the file cannot be read, a line is not a JSON object, or there is no row.
pub fn read(path: &Path) -> Result<Vec<Prediction>> {
    let mut reader = BufReader::new(File::open(path).map_err(|error| Error::io(path, error))?);
    let mut rows = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        let mut line = Vec::new();
        let mut bounded = reader.by_ref().take(LONGEST_LINE + 1);
        let read = bounded.read_until(b'\n', &mut line);
        if read.map_err(|error| Error::io(path, error))? == 0 {
            break;
        }
        let wrong = |detail: String| Error::Row {
            path: path.to_path_buf(),
            line: number,
            detail,
        };
        if line.len() as u64 > LONGEST_LINE {
            return Err(wrong(format!("longer than {LONGEST_LINE} bytes")));
        }
        let text = String::from_utf8(line)
            .map_err(|error| wrong(format!("not UTF-8: {}", error.utf8_error())))?;
        let text = match number {
            1 => text.trim_start_matches(BYTE_ORDER_MARK),
            _ => &text,
        };
        if !text.trim().is_empty() {
            rows.push(Prediction::parse(path, number, text)?);
        }
    }
    match rows.is_empty() {
        true => Err(Error::Request(format!("{}: no rows", path.display()))),
        false => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Result<Prediction> {
        Prediction::parse(Path::new("p.jsonl"), 3, text)
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let message = |text: &str| match row(text).and_then(|row| {
            row.generated()?;
            row.reference()?;
            row.number("loss")
        }) {
            Ok(number) => format!("{number}"),
            Err(error) => error.to_string(),
        };
        assert!(message("[1]").starts_with("p.jsonl, line 3: a row is one JSON object"));
        assert!(message("{").starts_with("p.jsonl, line 3: not JSON"));
        assert!(message("{}").contains("no `generated`"));
        assert!(message(r#"{"generated": []}"#).contains("`generated` must be"));
        assert!(message(r#"{"generated": ["a", 1]}"#).contains("holds 1"));
        assert!(message(r#"{"generated": "a"}"#).contains("no `output` or `answer`"));
        assert!(message(r#"{"generated": "a", "output": 1}"#).contains("`output` must be"));
        assert!(message(r#"{"generated": "a", "answer": "b", "loss": null}"#).contains("`loss`"));
        assert_eq!(
            message(r#"{"generated": "a", "answer": "b", "loss": 2}"#),
            "2"
        );
    }

    #[test]
    fn the_same_question_may_have_other_answers() -> Result<()> {
        let one = row(r#"{"input": "a", "output": "b", "generated": "c"}"#)?;
        assert!(one.asks_the_same(&row(
            r#"{"output": "b", "input": "a", "generated": "d", "loss": 1}"#
        )?));
        assert!(!one.asks_the_same(&row(r#"{"input": "b", "output": "b", "generated": "c"}"#)?));
        Ok(())
    }
}

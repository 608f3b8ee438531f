//! Rows as users have them: one JSON object per line, or one JSON array.

use std::ops::ControlFlow;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::IGNORED;
use super::row_file::RowFile;
use crate::error::{Error, MANY, Result};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Text, to be laid out and encoded.
    Text {
        /// `instruction` and `input`, joined.
        question: String,
        /// `output`.
        answer: String,
    },
    /// Ids, taken as they are.
    Ids {
        /// The tokens.
        input_ids: Vec<u32>,
        /// The target of each, -100 where there is none.
        labels: Vec<i64>,
    },
}

/// A row with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedRow {
    /// The line, counted from 1; in a JSON array, the row's number.
    pub line: usize,
    /// The row.
    pub row: Row,
}

/// The keys of both forms; others are ignored.
#[derive(Deserialize)]
struct Keys {
    instruction: Option<Value>,
    input: Option<Value>,
    output: Option<Value>,
    input_ids: Option<Vec<i64>>,
    labels: Option<Vec<i64>>,
}

/// Reads a file of rows, or a pipe.
///
/// # Errors
/// If the file cannot be read or a row is broken: the first broken row is named with line, column or key,
/// and the others are counted.
pub fn read_rows(path: &Path) -> Result<Vec<NumberedRow>> {
    let mut file = RowFile::open(path)?;
    let mut found = Found::default();
    match file.is_array()? {
        true => file.elements(|line, value| found.add(line, parse_value(value)))?,
        false => file.lines(|line, text| found.add(line, parse_line(text)))?,
    }
    found.finish(path)
}

/// The rows read so far.
#[derive(Default)]
struct Found {
    rows: Vec<NumberedRow>,
    /// The first broken row: its line and what is wrong.
    broken: Option<(usize, String)>,
    others: usize,
}

impl Found {
    fn add(&mut self, line: usize, row: std::result::Result<Row, String>) -> ControlFlow<()> {
        match row {
            Ok(row) => self.rows.push(NumberedRow { line, row }),
            Err(detail) if self.broken.is_none() => self.broken = Some((line, detail)),
            Err(_) => self.others += 1,
        }
        match self.others < MANY {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn finish(self, path: &Path) -> Result<Vec<NumberedRow>> {
        match self.broken {
            None => Ok(self.rows),
            Some((line, detail)) => Err(Error::Row {
                path: path.to_path_buf(),
                line,
                detail,
                others: self.others,
            }),
        }
    }
}

fn parse_value(value: Value) -> std::result::Result<Row, String> {
    let keys: Keys = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Row::from_keys(keys)
}

fn parse_line(line: &[u8]) -> std::result::Result<Row, String> {
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("byte {}: not UTF-8", error.valid_up_to() + 1))?;
    let keys: Keys = serde_json::from_str(text)
        .map_err(|error| format!("column {}: {}", error.column(), without_position(&error)))?;
    Row::from_keys(keys)
}

/// The parser's message; its own line number counts within the row.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_string(),
        None => message,
    }
}

impl Row {
    fn from_keys(keys: Keys) -> std::result::Result<Self, String> {
        if let Some(input_ids) = keys.input_ids {
            return Self::from_ids(input_ids, keys.labels);
        }
        let instruction = text("instruction", keys.instruction)?;
        // Rows without an input are common where the instruction says it all.
        let input = match keys.input {
            None => String::new(),
            found => text("input", found)?,
        };
        Ok(Self::Text {
            question: instruction + &input,
            answer: text("output", keys.output)?,
        })
    }

    fn from_ids(
        input_ids: Vec<i64>,
        labels: Option<Vec<i64>>,
    ) -> std::result::Result<Self, String> {
        let labels = labels.ok_or("key `labels` is missing beside `input_ids`")?;
        if labels.len() != input_ids.len() {
            return Err(format!(
                "key `labels` has {} entries, `input_ids` has {}; both must be of one length",
                labels.len(),
                input_ids.len()
            ));
        }
        let is_label =
            |label: &&i64| **label == IGNORED || i32::try_from(**label).is_ok_and(|id| id >= 0);
        if let Some(label) = labels.iter().find(|label| !is_label(label)) {
            return Err(format!(
                "key `labels`: {label} is neither a token id nor -100"
            ));
        }
        let ids = input_ids.into_iter().map(|id| {
            let fits = i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok());
            fits.ok_or_else(|| format!("key `input_ids`: {id} is no token id"))
        });
        Ok(Self::Ids {
            input_ids: ids.collect::<std::result::Result<_, _>>()?,
            labels,
        })
    }
}

fn text(key: &str, value: Option<Value>) -> std::result::Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!(
            "key `{key}`: found {}, expected a text",
            shortened(&other)
        )),
        None => Err(format!(
            "key `{key}` is missing; a row has `instruction`, `input` and `output`, or `input_ids` and \
             `labels`"
        )),
    }
}

/// A value for a message.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str) -> Result<Vec<NumberedRow>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read_rows(file.path())
    }

    #[test]
    fn lines_arrays_and_ids() {
        let line = r#"{"instruction": "a", "input": "b", "output": "c", "id": 7}"#;
        let expected = Row::Text {
            question: "ab".to_string(),
            answer: "c".to_string(),
        };
        let rows = read(&format!("\u{feff}{line}\r\n\n{line}")).unwrap();
        assert_eq!(
            rows[1],
            NumberedRow {
                line: 3,
                row: expected.clone()
            }
        );
        assert_eq!(
            read(&format!(" [{line}, {line}]")).unwrap()[1].row,
            expected
        );
        let rows = read(r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#).unwrap();
        let expected = Row::Ids {
            input_ids: vec![1, 2],
            labels: vec![-100, 2],
        };
        assert_eq!(rows[0].row, expected);
    }

    #[test]
    fn broken_rows_are_named_and_counted() {
        let good = r#"{"instruction": "a", "output": "c"}"#;
        let message = |text: &str| read(text).unwrap_err().to_string();
        let text = format!("{good}\n{{\"instruction\": }}\n{{}}\n{good}");
        let found = message(&text);
        assert!(found.contains(":2: column 17: "), "{found}");
        assert!(found.contains("1 other broken row"), "{found}");
        assert!(message("{\"instruction\": \"a\"}").contains("key `output`"));
        assert!(message("{\"instruction\": 5, \"output\": \"\"}").contains("key `instruction`"));
        assert!(message("{\"input_ids\": [1], \"labels\": []}").contains("one length"));
        assert!(message("{\"input_ids\": [-1], \"labels\": [0]}").contains("no token id"));
    }

    #[test]
    fn no_row_takes_more_than_a_row_can_need() {
        let long = "x".repeat(17 << 20);
        let row = r#"{"instruction": "a", "output": "c"}"#;
        for text in [
            format!("{row}\n{long}\n{row}"),
            format!("{row}\n{long}"),
            format!("[{row}, {{\"a\": \"{long}\"}}]"),
            format!("[{row}, {}", "[".repeat(100) + &"0,".repeat(9 << 20)),
        ] {
            let message = read(&text).unwrap_err().to_string();
            assert!(
                message.contains(":2: more than 16777216 bytes"),
                "{message}"
            );
        }
        #[cfg(unix)]
        assert!(read_rows(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn the_limit_holds_for_each_row_by_itself() {
        let row = format!(
            r#"{{"instruction": "{}", "output": "c"}}"#,
            "a".repeat(9 << 20)
        );
        assert_eq!(read(&format!("{row}\n{row}")).unwrap().len(), 2);
        assert_eq!(read(&format!("[{row},{row}]")).unwrap().len(), 2);
    }

    #[test]
    fn a_file_of_something_else_is_left_early() {
        for text in ["x\n".repeat(5000), format!("[{}0]", "1,".repeat(5000))] {
            let message = read(&text).unwrap_err().to_string();
            assert!(
                message.contains(":1: ") && message.contains("999"),
                "{message}"
            );
        }
        let message = read("[1, 2, x]").unwrap_err().to_string();
        assert!(message.contains("line 1 column 8"), "{message}");
        let folder = tempfile::tempdir().unwrap();
        let message = read_rows(folder.path()).unwrap_err().to_string();
        assert!(message.contains("a directory"), "{message}");
    }
}

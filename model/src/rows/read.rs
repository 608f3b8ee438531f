//! A file of rows: one JSON object per line, or one JSON array.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::format::RowFormat;
use super::forms;
use super::object::Object;
use super::row::NumberedRow;
use super::row_file::RowFile;
use super::row_use::RowUse;
use crate::error::{Error, MANY, Result};

/// Unused keys that are counted by name.
const COUNTED_KEYS: usize = 32;

/// The rows of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows, in their order.
    pub rows: Vec<NumberedRow>,
    /// Keys that no form of rows has, such as an `id`, with the number of rows that have them.
    pub unused_keys: BTreeMap<String, usize>,
}

/// A row that is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The row; the answer that is expected is empty where it has none.
    pub row: NumberedRow,
    /// The JSON object as it is written in the file: whoever writes it again need not know what else it says, and
    /// how numbers are best written.
    pub text: String,
}

/// Reads a file of rows, or a pipe.
///
/// # Errors
/// If the file cannot be read or a row is broken: the first broken row is named with line, column or key,
/// and the others are counted.
pub fn read_rows(path: &Path, format: &RowFormat) -> Result<Rows> {
    let mut found = Rows::default();
    for_each_object(path, |line, mut object, _| {
        let row = forms::read(&mut object, format, RowUse::Training)?;
        found.rows.push(NumberedRow { line, row });
        found.count_unused(&object);
        Ok(())
    })?;
    Ok(found)
}

/// Reads a file of rows, or a pipe, that are to be answered: they need not have an answer.
///
/// # Errors
/// As [`read_rows`].
pub fn read_questions(path: &Path, format: &RowFormat) -> Result<Vec<Question>> {
    let mut found = Vec::new();
    for_each_object(path, |line, mut object, text| {
        let row = forms::read(&mut object, format, RowUse::Prediction)?;
        let row = NumberedRow { line, row };
        let text = String::from_utf8_lossy(text.trim_ascii()).into_owned();
        found.push(Question { row, text });
        Ok(())
    })?;
    Ok(found)
}

/// Gives each object of a file, with its line and as it is written, to `take`, which says what is wrong with it.
fn for_each_object(
    path: &Path,
    mut take: impl FnMut(usize, Object, &[u8]) -> Result<(), String>,
) -> Result<()> {
    let mut file = RowFile::open(path)?;
    let mut broken = Broken::default();
    let mut found = |line, object: Result<Object, String>, text: &[u8]| {
        broken.note(line, object.and_then(|object| take(line, object, text)))
    };
    match file.is_array()? {
        true => file.elements(|line, value, text| found(line, Object::of(value), text))?,
        false => file.lines(|line, text| found(line, parse_line(text), text))?,
    }
    broken.finish(path)
}

fn parse_line(line: &[u8]) -> Result<Object, String> {
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("byte {}: not UTF-8", error.valid_up_to() + 1))?;
    serde_json::from_str(text)
        .map_err(|error| format!("column {}: {}", error.column(), without_position(&error)))
}

/// The parser's message; its own line number counts within the row.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_string(),
        None => message,
    }
}

impl Rows {
    fn count_unused(&mut self, object: &Object) {
        let counts = &mut self.unused_keys;
        for key in object.keys() {
            if counts.contains_key(key) || counts.len() < COUNTED_KEYS {
                *counts.entry(key.to_string()).or_default() += 1;
            }
        }
    }
}

/// The broken rows so far.
#[derive(Default)]
struct Broken {
    /// The first one: its line and what is wrong.
    first: Option<(usize, String)>,
    others: usize,
}

impl Broken {
    /// Takes note of a row, until there are many broken ones.
    fn note(&mut self, line: usize, row: Result<(), String>) -> ControlFlow<()> {
        match row {
            Ok(()) => {}
            Err(detail) if self.first.is_none() => self.first = Some((line, detail)),
            Err(_) => self.others += 1,
        }
        match self.others < MANY {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn finish(self, path: &Path) -> Result<()> {
        match self.first {
            None => Ok(()),
            Some((line, detail)) => Err(Error::Row {
                path: path.to_path_buf(),
                line,
                detail,
                others: self.others,
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::super::row::Row;
    use super::*;

    fn read_as(text: &str, format: &RowFormat) -> Result<Rows> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read_rows(file.path(), format)
    }

    fn read(text: &str) -> Result<Rows> {
        read_as(text, &RowFormat::default())
    }

    fn text_row(question: &str, answer: &str) -> Row {
        Row::Text {
            question: question.to_string(),
            answer: answer.to_string(),
        }
    }

    #[test]
    fn lines_arrays_and_ids() {
        let line = r#"{"instruction": "a", "input": "b", "output": "c", "id": 7}"#;
        let expected = text_row("ab", "c");
        let found = read(&format!("\u{feff}{line}\r\n\n{line}")).unwrap();
        assert_eq!(
            found.rows[1],
            NumberedRow {
                line: 3,
                row: expected.clone()
            }
        );
        assert_eq!(found.unused_keys, BTreeMap::from([("id".to_string(), 2)]));
        let found = read(&format!(" [{line}, {line}]")).unwrap();
        assert_eq!(found.rows[1].row, expected);
        let found = read(r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#).unwrap();
        let expected = Row::Ids {
            input_ids: vec![1, 2],
            labels: vec![-100, 2],
        };
        assert_eq!(found.rows[0].row, expected);
    }

    #[test]
    fn what_is_to_be_answered_needs_no_answer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let questions = |text: &str| {
            fs::write(file.path(), text).unwrap();
            read_questions(file.path(), &RowFormat::default())
        };
        let texts = [
            r#"{"id": 1.4333333333333333, "instruction": "a"}"#,
            r#"{"text": "b}, {", "answer": "c"}"#,
            r#"{"input_ids": [7, 8]}"#,
        ];
        let found = questions(&texts.join("\n")).unwrap();
        let array = questions(&format!(" [{} ]\n", texts.join(" ,\n"))).unwrap();
        for (found, array) in found.iter().zip(&array) {
            assert_eq!((&found.row.row, &found.text), (&array.row.row, &array.text));
        }
        let written: Vec<&str> = found.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(written, texts);
        assert_eq!(array.len(), 3);
        assert_eq!(found[0].row.row, text_row("a", ""));
        assert_eq!(found[1].row.row, text_row("b}, {", "c"));
        let ids = Row::Ids {
            input_ids: vec![7, 8],
            labels: vec![-100; 2],
        };
        assert_eq!((found[2].row.line, &found[2].row.row), (3, &ids));
        let message = questions("{\"output\": \"c\"}").unwrap_err().to_string();
        assert!(
            message.contains(":1: key `instruction` is missing"),
            "{message}"
        );
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
        assert!(message("{\"input_ids\": [-1], \"labels\": [0]}").contains("not a token id"));
        assert!(message("{\"output\": \"a\", \"output\": \"b\"}").contains("comes twice"));
        assert!(message("[3]").contains("expected an object"));
    }

    #[test]
    fn rows_of_the_first_release() {
        let line = r#"{"text": "a", "answer": "c"}"#;
        assert_eq!(read(line).unwrap().rows[0].row, text_row("a", "c"));
        let format = RowFormat {
            prompt_text: "p: ".to_string(),
            ..RowFormat::default()
        };
        let found = read_as(line, &format).unwrap();
        assert_eq!(found.rows[0].row, text_row("p: a", "c"));
        // Where both are there, the row is of the later form.
        let both = r#"{"text": "x", "instruction": "a", "output": "c"}"#;
        let found = read_as(both, &format).unwrap();
        assert_eq!(found.rows[0].row, text_row("p: a", "c"));
        assert!(found.unused_keys.contains_key("text"));
        let ids = r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#;
        let error = read_as(ids, &format).unwrap_err().to_string();
        assert!(error.contains("--prompt_text"), "{error}");
    }

    fn columns(prompt: &str, query: Option<&str>, response: &str) -> RowFormat {
        RowFormat {
            prompt_column: Some(prompt.to_string()),
            query_column: query.map(str::to_string),
            response_column: Some(response.to_string()),
            ..RowFormat::default()
        }
    }

    #[test]
    fn columns_by_name() {
        let line = r#"{"content": "a", "summary": "c"}"#;
        let error = read(line).unwrap_err().to_string();
        assert!(error.contains("`content`, `summary`") && error.contains("--prompt_column"));
        let found = read_as(line, &columns("content", None, "summary")).unwrap();
        assert_eq!(found.rows[0].row, text_row("a", "c"));
        let format = columns("content", Some("more"), "summary");
        let error = read_as(line, &format).unwrap_err().to_string();
        assert!(error.contains(":1: key `more` is missing"), "{error}");
        let line = r#"{"content": "a", "more": "b", "summary": "c"}"#;
        let found = read_as(line, &format).unwrap();
        assert_eq!(found.rows[0].row, text_row("ab", "c"));
        let line = r#"{"content": "a", "more": null, "summary": "c"}"#;
        let found = read_as(line, &format).unwrap();
        assert_eq!(found.rows[0].row, text_row("a", "c"));
    }

    #[test]
    fn a_near_name_of_the_input_is_not_left_out() {
        for near in ["Input", "inputs", "input "] {
            let line = json!({"instruction": "a", near: "b", "output": "c"}).to_string();
            let error = read(&line).unwrap_err().to_string();
            assert!(error.contains("did you mean `input`"), "{error}");
        }
    }

    #[test]
    fn a_history_column_is_no_place_to_lose_text() {
        let format = RowFormat {
            history_column: Some("before".to_string()),
            ..columns("q", None, "a")
        };
        let empty = r#"{"q": "a", "a": "c", "before": []}"#;
        assert!(read_as(empty, &format).is_ok());
        let full = r#"{"q": "a", "a": "c", "before": [["b", "d"]]}"#;
        let error = read_as(full, &format).unwrap_err().to_string();
        assert!(error.contains(":1: key `before`"), "{error}");
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
        assert!(read_rows(Path::new("/dev/zero"), &RowFormat::default()).is_err());
    }

    #[test]
    fn the_limit_holds_for_each_row_by_itself() {
        let row = format!(
            r#"{{"instruction": "{}", "output": "c"}}"#,
            "a".repeat(9 << 20)
        );
        assert_eq!(read(&format!("{row}\n{row}")).unwrap().rows.len(), 2);
        assert_eq!(read(&format!("[{row},{row}]")).unwrap().rows.len(), 2);
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
        let message = read_rows(folder.path(), &RowFormat::default())
            .unwrap_err()
            .to_string();
        assert!(message.contains("a directory"), "{message}");
    }
    /// Something that a row can say in a key.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{1,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from),
                inner.prop_map(|value| json!({"k": value})),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_part_of_a_conversation_is_never_left_out(
            key in prop::sample::select(vec![
                "history", "system", "conversations", "conversation", "messages", "tools",
            ]),
            value in values(),
            first in any::<bool>(),
            form in 0..2,
        ) {
            let (question, answer) = [("instruction", "output"), ("text", "answer")][form as usize];
            let mut row = Map::new();
            if first {
                row.insert(key.to_string(), value.clone());
            }
            row.insert(question.to_string(), "a".into());
            row.insert(answer.to_string(), "c".into());
            row.insert(key.to_string(), value);
            let text = format!("{{\"instruction\": \"a\", \"output\": \"c\"}}\n{}", Value::Object(row));
            let error = read(&text).unwrap_err().to_string();
            let named = format!(":2: key `{key}`");
            prop_assert!(error.contains(&named), "{}", error);
        }

        #[test]
        fn an_empty_part_of_a_conversation_is_fine(
            key in prop::sample::select(vec!["history", "system", "messages", "tools"]),
            value in prop::sample::select(vec![json!(null), json!(""), json!([]), json!({}), json!(" ")]),
        ) {
            let row = json!({"instruction": "a", "output": "c", key: value});
            prop_assert!(read(&row.to_string()).is_ok());
        }
    }
}

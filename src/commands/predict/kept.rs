//! The rows that the output has already.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use glmtune_eval::predictions::GENERATED;
use serde_json::{Map, Value};

use super::line::opening;
use super::questions::Questions;
use crate::commands::error::Result;

/// Longest line that is read, in bytes: a row with many answers.
const LONGEST_LINE: u64 = 64 << 20;

/// What of the output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Rows.
    pub rows: usize,
    /// The bytes of their lines.
    pub bytes: u64,
    /// Whether the last line lacks its end.
    pub is_open: bool,
    /// Whether a half written line follows, which goes.
    pub drops_last: bool,
}

/// Checks that the rows of the output are the first ones of the file, each with its answers; the last line may be
/// half written.
///
/// # Errors
/// Names the first line that is not such a row.
pub fn read(file: File, path: &Path, questions: &Questions, num_sequences: usize) -> Result<Kept> {
    let check = Check {
        path,
        questions,
        num_sequences,
    };
    let mut reader = BufReader::new(file);
    let mut kept = Kept::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = reader.by_ref().take(LONGEST_LINE + 1);
        let read = bounded.read_until(b'\n', &mut line);
        let read = read.map_err(|error| glmtune_model::Error::io(path, error))?;
        if read == 0 {
            break;
        }
        if line.len() as u64 > LONGEST_LINE {
            return Err(check.wrong(number, format!("longer than {LONGEST_LINE} bytes")));
        }
        let is_whole = line.ends_with(b"\n");
        if !is_whole && check.is_half(kept.rows, &line) {
            kept.drops_last = true;
            break;
        }
        if !line.trim_ascii().is_empty() {
            check.row(number, kept.rows, &line)?;
            kept.rows += 1;
        }
        kept.bytes += line.len() as u64;
        kept.is_open = !is_whole;
    }
    Ok(kept)
}

/// What the rows are held against.
struct Check<'a> {
    path: &'a Path,
    questions: &'a Questions,
    num_sequences: usize,
}

impl Check<'_> {
    fn row(&self, number: usize, row: usize, line: &[u8]) -> Result<()> {
        let wrong = |detail: String| self.wrong(number, detail);
        if row >= self.questions.len() {
            return Err(wrong(format!(
                "a row more than the {} of the file; --overwrite starts anew",
                self.questions.len()
            )));
        }
        let found: Map<String, Value> = match serde_json::from_slice(line) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(wrong("a row is one JSON object".to_string())),
            Err(error) => return Err(wrong(format!("not JSON: {error}"))),
        };
        self.answers(number, found.get(GENERATED))?;
        let asked: Map<String, Value> =
            serde_json::from_str(self.questions.text(row)).unwrap_or_default();
        let mut keys = found.keys().chain(asked.keys());
        let differs = |key: &&String| *key != GENERATED && found.get(*key) != asked.get(*key);
        match keys.find(differs) {
            None => Ok(()),
            Some(key) => Err(wrong(format!(
                "not line {} of the file with an answer: key `{}` differs; name another --output, or start anew with \
                 --overwrite",
                self.questions.line(row),
                key.escape_debug()
            ))),
        }
    }

    fn answers(&self, number: usize, generated: Option<&Value>) -> Result<()> {
        let fits = match (generated, self.num_sequences) {
            (Some(Value::String(_)), 1) => true,
            (Some(Value::Array(texts)), count) if count > 1 => {
                texts.len() == count && texts.iter().all(Value::is_string)
            }
            _ => false,
        };
        let expected = match self.num_sequences {
            1 => "a string".to_string(),
            count => format!("a list of {count} strings"),
        };
        match fits {
            true => Ok(()),
            false => Err(self.wrong(
                number,
                format!("`{GENERATED}` must be {expected}; --overwrite starts anew"),
            )),
        }
    }

    /// Whether a line without its end is the beginning of what stands there when a run is killed; whatever else
    /// is there is not ours to remove.
    fn is_half(&self, row: usize, line: &[u8]) -> bool {
        if row >= self.questions.len() || serde_json::from_slice::<Value>(line).is_ok() {
            return false;
        }
        let opening = opening(self.questions.text(row));
        let common = opening.len().min(line.len());
        opening.as_bytes()[..common] == line[..common]
    }

    fn wrong(&self, line: usize, detail: String) -> crate::commands::error::Error {
        glmtune_model::Error::Row {
            path: self.path.to_path_buf(),
            line,
            detail,
            others: 0,
        }
        .into()
    }
}

//! A sheet on which people score generated questions in a spreadsheet, and what they found.
//!
//! One line per row of the predictions: its number, the document, the questions, and an empty cell for each
//! criterion. The file begins with a byte order mark, without which spreadsheets take UTF-8 for something else; a
//! text that a spreadsheet would compute gets an apostrophe before it.

use std::path::Path;

use serde::Serialize;

use super::{CRITERIA, Questions, TOTAL};
use crate::correlation::spearman;
use crate::error::{Error, Result};
use crate::predictions::Prediction;
use crate::scores::{Scores, mean};
use crate::task::Task;

/// How UTF-8 announces itself to spreadsheets.
const MARK: &str = "\u{feff}";
/// The columns before those of the criteria.
const COLUMNS: [&str; 3] = ["row", "document", "questions"];
/// Beginnings of a cell that a spreadsheet would compute.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// What spreadsheets put between cells, by country.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The sheet of some rows, as text.
///
/// # Errors
/// If a row has no questions or no document.
pub fn write(rows: &[Prediction]) -> Result<String> {
    let mut sheet = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let failed = |error: csv::Error| Error::Request(format!("the sheet: {error}"));
    let head = COLUMNS.into_iter().chain(CRITERIA);
    sheet.write_record(head).map_err(failed)?;
    for (index, row) in rows.iter().enumerate() {
        let number = (index + 1).to_string();
        let (document, questions) = texts(row)?;
        let cells = [number, guarded(&document), guarded(&questions)];
        let empty = CRITERIA.map(|_| String::new());
        sheet
            .write_record(cells.into_iter().chain(empty))
            .map_err(failed)?;
    }
    let bytes = sheet.into_inner();
    let bytes = bytes.map_err(|error| Error::Request(format!("the sheet: {error}")))?;
    Ok(format!("{MARK}{}", String::from_utf8_lossy(&bytes)))
}

fn texts(row: &Prediction) -> Result<(String, String)> {
    let questions = row.generated()?;
    let numbered = questions.iter().enumerate();
    let numbered: Vec<String> = numbered
        .map(|(index, question)| format!("{}. {question}", index + 1))
        .collect();
    Ok((row.document()?.to_string(), numbered.join("\n")))
}

fn guarded(text: &str) -> String {
    match text.starts_with(FORMULA) {
        true => format!("'{text}"),
        false => text.to_string(),
    }
}

/// Automatic scores beside people's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Rows of the predictions.
    pub rows: usize,
    /// Those of them that people scored.
    pub scored: usize,
    /// Each criterion and the total, over the rows that people scored.
    pub scores: Vec<Compared>,
}

/// A score by people and by rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// The mean of people's.
    pub people: f64,
    /// The mean of the automatic ones.
    pub automatic: f64,
    /// Spearman's correlation of the two; none where one of them does not vary.
    pub correlation: Option<f64>,
}

/// Reads a filled sheet and compares it with the automatic scores of its rows. Lines without scores are rows that
/// nobody has scored yet.
///
/// # Errors
/// By line: if the sheet is another file's, or a score is missing or not from 0 to 1; if there is none at all.
pub fn compare(path: &Path, text: &str, rows: &[Prediction]) -> Result<Agreement> {
    let found = read(path, text, rows)?;
    if found.is_empty() {
        return Err(Error::Request(format!(
            "{}: no line has scores yet; fill in {}, each from 0 to 1",
            path.display(),
            CRITERIA.join(", ")
        )));
    }
    let automatic = found.iter().map(|(row, _)| Questions.score(&rows[*row]));
    let automatic: Vec<Scores> = automatic.collect::<Result<_>>()?;
    let names = CRITERIA.into_iter().chain([TOTAL]);
    let compared = names.map(|name| {
        let of = |scores: &Scores| scores.get(name).unwrap_or(0.0);
        let people: Vec<f64> = found.iter().map(|(_, scores)| of(scores)).collect();
        let automatic: Vec<f64> = automatic.iter().map(of).collect();
        Compared {
            name: name.to_string(),
            people: mean(&people),
            automatic: mean(&automatic),
            correlation: spearman(&people, &automatic),
        }
    });
    Ok(Agreement {
        rows: rows.len(),
        scored: found.len(),
        scores: compared.collect(),
    })
}

/// Rows by their index, and what people gave them.
fn read(path: &Path, text: &str, rows: &[Prediction]) -> Result<Vec<(usize, Scores)>> {
    let text = text.strip_prefix(MARK).unwrap_or(text);
    // Else the end of a line would count as the beginning of the next.
    let text = &text.replace("\r\n", "\n");
    let mut sheet = csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let wrong = |line: usize, detail: String| Error::Row {
        path: path.to_path_buf(),
        line,
        detail,
    };
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, |at| at.line() as usize);
        wrong(line, format!("not a line of this sheet: {error}"))
    };
    let head = sheet.headers().map_err(malformed)?.clone();
    let column = |name: &str| {
        let found = head.iter().position(|cell| cell.trim() == name);
        found.ok_or_else(|| {
            wrong(
                1,
                format!("no column `{name}`; --sheet writes a sheet with it"),
            )
        })
    };
    let [number, document, questions] = [
        column(COLUMNS[0])?,
        column(COLUMNS[1])?,
        column(COLUMNS[2])?,
    ];
    let criteria = CRITERIA.map(|name| column(name).map(|at| (name, at)));
    let criteria: Vec<(&str, usize)> = criteria.into_iter().collect::<Result<_>>()?;
    let mut found: Vec<(usize, Scores)> = Vec::new();
    for record in sheet.records() {
        let record = record.map_err(malformed)?;
        let line = record.position().map_or(0, |at| at.line() as usize);
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let index = cell(number).trim().parse::<usize>().ok();
        let Some(index) = index
            .and_then(|row| row.checked_sub(1))
            .filter(|row| *row < rows.len())
        else {
            return Err(wrong(
                line,
                format!(
                    "row {:?}; the predictions have rows 1 to {}",
                    cell(number),
                    rows.len()
                ),
            ));
        };
        let expected = texts(&rows[index])?;
        if !is_same(cell(document), &expected.0) || !is_same(cell(questions), &expected.1) {
            return Err(wrong(
                line,
                format!(
                    "document or questions are not those of row {} of the predictions",
                    index + 1
                ),
            ));
        }
        if found.iter().any(|(other, _)| *other == index) {
            return Err(wrong(line, format!("row {} stands here twice", index + 1)));
        }
        let cells: Vec<(&str, &str)> = criteria
            .iter()
            .map(|(name, at)| (*name, cell(*at).trim()))
            .collect();
        if let Some(scores) = scores(&cells).map_err(|detail| wrong(line, detail))? {
            found.push((index, scores));
        }
    }
    Ok(found)
}

/// Whether a cell that went through a spreadsheet is this text.
fn is_same(cell: &str, text: &str) -> bool {
    let plain = |text: &str| {
        text.replace("\r\n", "\n")
            .replace('\r', "\n")
            .trim()
            .to_string()
    };
    // Some spreadsheets take the apostrophe for a sign of theirs and drop it.
    plain(cell) == plain(&guarded(text)) || plain(cell) == plain(text)
}

/// What stands between the cells: what the first line has most of.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default().as_bytes();
    let count = |delimiter: &u8| first.iter().filter(|byte| *byte == delimiter).count();
    DELIMITERS
        .into_iter()
        .rev()
        .max_by_key(count)
        .unwrap_or(b',')
}

/// What people gave a row, with the total; `None` if they have given nothing yet.
fn scores(cells: &[(&str, &str)]) -> std::result::Result<Option<Scores>, String> {
    if cells.iter().all(|(_, cell)| cell.is_empty()) {
        return Ok(None);
    }
    let mut scores = Scores::default();
    for (name, cell) in cells {
        // In half of the world a comma stands before the decimals.
        let number = cell.replace(',', ".").parse::<f64>().ok();
        match number.filter(|number| (0.0..=1.0).contains(number)) {
            Some(number) => scores.set(*name, number),
            None if cell.is_empty() => {
                return Err(format!("no `{name}`, though other criteria have a score"));
            }
            None => {
                return Err(format!(
                    "`{name}` is {cell:?}; expected a number from 0 to 1"
                ));
            }
        }
    }
    let total = scores.iter().map(|(_, score)| score).sum();
    scores.set(TOTAL, total);
    Ok(Some(scores))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(document: &str, questions: &[&str]) -> Result<Prediction> {
        let text = serde_json::json!({"text": document, "generated": questions}).to_string();
        Prediction::parse(Path::new("p.jsonl"), 1, &text)
    }

    fn rows() -> Result<Vec<Prediction>> {
        Ok(vec![
            row("=1+1 是公式。", &["公式是什么?", "什么是公式?"])?,
            row("-落枕,\"刮痧\"\n治疗", &["@落枕?"])?,
            row("水", &["水是什么?"])?,
        ])
    }

    /// The sheet with scores at the ends of its lines, given per row.
    fn filled(sheet: &str, scores: &[&str]) -> String {
        let mut scores = scores.iter();
        let parts: Vec<&str> = sheet.split(",,,,,\r\n").collect();
        let mut text = String::new();
        for part in &parts[..parts.len() - 1] {
            text += &format!("{part},{}\r\n", scores.next().unwrap_or(&",,,,"));
        }
        text + parts[parts.len() - 1]
    }

    #[test]
    fn what_people_fill_in_is_read_back() -> Result<()> {
        let rows = rows()?;
        let sheet = write(&rows)?;
        assert!(sheet.starts_with("\u{feff}row,document,questions,distinct_questions"));
        assert!(sheet.contains("'=1+1") && sheet.contains("\"'-落枕,\"\"刮痧\"\""));
        let text = filled(&sheet, &["1,1,0.5,1,1", ",,,,", "1,0,0,0,1"]);
        let found = compare(Path::new("s.csv"), &text, &rows)?;
        assert_eq!((found.rows, found.scored), (3, 2));
        let total = found.scores.last().map(|score| score.people);
        assert_eq!(total, Some((4.5 + 2.0) / 2.0));
        assert_eq!(
            found,
            compare(Path::new("s.csv"), &of_another_country(&text), &rows)?
        );
        Ok(())
    }

    /// As a spreadsheet there writes it, without the apostrophe that it took for its own.
    fn of_another_country(text: &str) -> String {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes());
        let mut writer = csv::WriterBuilder::new()
            .delimiter(b';')
            .from_writer(Vec::new());
        for record in reader.records().flatten() {
            let cells = record.iter().map(|cell| match cell {
                "0.5" => "0,5",
                cell => cell.trim_start_matches('\''),
            });
            let _ = writer.write_record(cells);
        }
        String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
    }

    #[test]
    fn sheets_that_do_not_fit_are_refused_by_line() -> Result<()> {
        let rows = rows()?;
        let sheet = write(&rows)?;
        let message = |text: &str| match compare(Path::new("s.csv"), text, &rows) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let cases = [
            (sheet.clone(), "s.csv: no line has scores yet"),
            (filled(&sheet, &["1,1,1,1,"]), "line 2: no `harmless`"),
            (
                filled(&sheet, &["1,1,2,1,1"]),
                "line 2: `answerable` is \"2\"",
            ),
            (sheet.replace(",fluent", ",x"), "line 1: no column `fluent`"),
            (
                sheet.replace("是公式。", "x"),
                "line 2: document or questions are not",
            ),
            (sheet.replace("\r\n1,", "\r\n9,"), "line 2: row \"9\""),
        ];
        for (text, expected) in cases {
            assert!(
                message(&text).contains(expected),
                "{expected}: {}",
                message(&text)
            );
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_survives_the_sheet(document in "\\PC{0,20}[=+@,;\"'\n-]?\\PC{0,5}", question in "[=+@\t-]?\\PC{0,20}") {
            let rows = [row(&document, &[&question])?];
            let text = filled(&write(&rows)?, &["1,1,1,1,1"]);
            prop_assert_eq!(compare(Path::new("s.csv"), &text, &rows)?.scored, 1);
        }
    }
}

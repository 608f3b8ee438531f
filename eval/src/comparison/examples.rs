//! Rows that show best how the models differ, and where an answer differs from the expected one.

use std::collections::BTreeSet;

use similar::{ChangeTag, TextDiff};

use super::inputs::Inputs;
use super::results::{Example, ExampleAnswer};
use super::scored::ScoredMethod;
use crate::error::Result;
use crate::predictions::{GENERATED, Prediction};
use crate::task::Scored;

/// Keys of what is asked, in the order in which a prompt has them.
const QUESTION: [&str; 3] = ["instruction", "input", "text"];
/// Longest text that is compared character by character.
const MAX_CHARACTERS: usize = 4000;

/// The rows with the widest range of scores, in the order of the file.
pub(super) fn examples(
    inputs: &Inputs<'_>,
    score: &str,
    base: &Scored,
    methods: &[ScoredMethod<'_>],
) -> Result<Vec<Example>> {
    let shown: Vec<_> = methods
        .iter()
        .filter_map(|method| Some((method, method.runs.first()?)))
        .collect();
    let of = |scored: &Scored, row: usize| scored.rows[row].get(score).unwrap_or(0.0);
    let range = |row: usize| {
        let scores = shown.iter().map(|(_, run)| of(&run.scored, row));
        let scores = scores.chain([of(base, row)]);
        let (low, high) = scores.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| {
            (low.min(score), high.max(score))
        });
        high - low
    };
    let mut rows: Vec<usize> = (0..inputs.base.len()).collect();
    rows.sort_by(|a, b| range(*b).total_cmp(&range(*a)));
    rows.truncate(inputs.examples);
    rows.sort_unstable();
    let example = |row: usize| {
        let asked = &inputs.base[row];
        let mut answers = vec![ExampleAnswer {
            method: None,
            seed: None,
            text: first_answer(asked)?,
            score: of(base, row),
        }];
        for (method, run) in &shown {
            answers.push(ExampleAnswer {
                method: Some(method.input.name.clone()),
                seed: Some(run.seed),
                text: first_answer(&run.tuned.answers[row])?,
                score: of(&run.scored, row),
            });
        }
        Ok(Example {
            row: row + 1,
            question: question(asked),
            expected: asked.reference().ok().map(str::to_string),
            answers,
        })
    };
    rows.into_iter().map(example).collect()
}

fn first_answer(row: &Prediction) -> Result<String> {
    Ok(row.generated()?.join("\n"))
}

/// What a row asks; a row of other keys as it stands.
fn question(row: &Prediction) -> String {
    let texts = QUESTION
        .iter()
        .filter_map(|key| row.fields().get(*key)?.as_str());
    let text: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    match text.is_empty() {
        false => text.join("\n"),
        true => {
            let mut fields = row.fields().clone();
            fields.remove(GENERATED);
            serde_json::Value::Object(fields).to_string()
        }
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As expected.
    Same,
    /// Not expected.
    Added,
    /// Expected, and not in the answer.
    Missing,
}

/// An answer in pieces: of triples its lines, whose order does not matter; else by characters.
pub(super) fn marked(task: &str, expected: &str, answer: &str) -> Vec<(Mark, String)> {
    match task {
        "triples" => marked_lines(expected, answer),
        _ => marked_characters(expected, answer),
    }
}

fn marked_lines(expected: &str, answer: &str) -> Vec<(Mark, String)> {
    let expected_lines: BTreeSet<&str> = expected.lines().collect();
    let lines: BTreeSet<&str> = answer.lines().collect();
    let own = answer
        .lines()
        .map(|line| match expected_lines.contains(line) {
            true => (Mark::Same, line),
            false => (Mark::Added, line),
        });
    let missing = expected.lines().filter(|line| !lines.contains(line));
    let pieces: Vec<_> = own
        .chain(missing.map(|line| (Mark::Missing, line)))
        .collect();
    let last = pieces.len().saturating_sub(1);
    let ended = pieces.into_iter().enumerate().map(|(index, (mark, line))| {
        let end = if index < last { "\n" } else { "" };
        (mark, format!("{line}{end}"))
    });
    ended.collect()
}

fn marked_characters(expected: &str, answer: &str) -> Vec<(Mark, String)> {
    if expected.chars().count() + answer.chars().count() > MAX_CHARACTERS {
        let mark = if expected == answer {
            Mark::Same
        } else {
            Mark::Added
        };
        return vec![(mark, answer.to_string())];
    }
    let mut pieces: Vec<(Mark, String)> = Vec::new();
    for change in TextDiff::from_chars(expected, answer).iter_all_changes() {
        let mark = match change.tag() {
            ChangeTag::Equal => Mark::Same,
            ChangeTag::Insert => Mark::Added,
            ChangeTag::Delete => Mark::Missing,
        };
        match pieces.last_mut() {
            Some((last, text)) if *last == mark => text.push_str(change.value()),
            _ => pieces.push((mark, change.value().to_string())),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_marks_is_the_answer() {
        for (task, expected, answer) in [
            ("triples", "a_r_b\nc_r_d", "c_r_d\nx_r_y"),
            ("text", "发动机水温高", "水温很高"),
            ("text", "", "x"),
            ("triples", "a_r_b", ""),
        ] {
            let pieces = marked(task, expected, answer);
            let own: String = pieces
                .iter()
                .filter(|(mark, _)| *mark != Mark::Missing)
                .map(|(_, text)| text.as_str())
                .collect();
            assert_eq!(own.trim_end(), answer, "{pieces:?}");
        }
        let pieces = marked("triples", "a_r_b\nc_r_d", "c_r_d\nx_r_y");
        let marks: Vec<Mark> = pieces.iter().map(|(mark, _)| *mark).collect();
        assert_eq!(marks, [Mark::Same, Mark::Added, Mark::Missing]);
    }
}

//! What a model could do before a tuning and can do after it, ability by ability: the score of its answers, and
//! the loss of the expected ones where the rows have it.
//!
//! Every ability counts the same in the whole, however many rows test it.

use serde::Serialize;

use crate::bootstrap::{self, Difference, Kept};
use crate::error::Result;
use crate::predictions::{LOSS, Prediction};
use crate::scores::{Scores, mean};
use crate::task::{Task, over_answers};
use crate::text::{characters, rouge};
use crate::triples;

/// The key of the ability that a row tests.
pub const ABILITY: &str = "ability";
/// The key of how a row's answer is scored.
pub const METRIC: &str = "metric";

/// How an answer is scored, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// 1 if answer and expected answer are equal but for white space around them.
    Exact,
    /// 1 if the expected answer stands somewhere in the answer.
    Contains,
    /// The F1 of relation triples.
    Triples,
    /// ROUGE-L over characters.
    RougeL,
}

impl Metric {
    const ALL: [(&'static str, Self); 4] = [
        ("exact", Self::Exact),
        ("contains", Self::Contains),
        ("triples", Self::Triples),
        ("rouge-l", Self::RougeL),
    ];

    fn of(row: &Prediction) -> Result<Self> {
        let Some(name) = row.optional_text(METRIC)? else {
            return Ok(Self::Exact);
        };
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, metric)| *metric).ok_or_else(|| {
            let known = Self::ALL.map(|(known, _)| known).join(", ");
            row.wrong(format!("`{METRIC}` is {name:?}; expected one of {known}"))
        })
    }

    fn score(self, answer: &str, expected: &str) -> f64 {
        let is = |truth: bool| f64::from(u8::from(truth));
        match self {
            Self::Exact => is(answer.trim() == expected.trim()),
            Self::Contains => is(answer.contains(expected.trim())),
            Self::Triples => triples::f1_of(answer, expected),
            Self::RougeL => rouge(&visible(answer), &visible(expected)).longest,
        }
    }
}

fn visible(text: &str) -> Vec<&str> {
    let characters = characters(text).into_iter();
    characters.filter(|c| !c.trim().is_empty()).collect()
}

/// The task: rows have an `ability`, the expected answer, and perhaps a `metric` and a `loss`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Abilities;

impl Task for Abilities {
    fn name(&self) -> &'static str {
        "abilities"
    }

    fn score(&self, row: &Prediction) -> Result<Scores> {
        ability(row)?;
        let (metric, expected) = (Metric::of(row)?, row.reference()?);
        let mut scores = over_answers(row.generated()?, |answer| {
            Scores::from_iter([("score", metric.score(answer, expected))])
        });
        if let Some(loss) = row.optional_number(LOSS)? {
            scores.set("loss", loss);
        }
        Ok(scores)
    }

    fn summarize(&self, rows: &[Prediction], _scores: &[Scores]) -> Result<Scores> {
        let report = Report::new(rows, None)?;
        let mut whole = Scores::default();
        for (of, measured) in std::iter::once((None, &report.all))
            .chain(report.abilities.iter().map(|one| (Some(&one.name), one)))
        {
            let name = |score: &str| of.map_or(score.to_string(), |of| format!("{score}/{of}"));
            whole.set(name("score"), measured.score.after);
            if let Some(loss) = &measured.loss {
                whole.set(name("loss"), loss.after);
            }
        }
        Ok(whole)
    }

    fn legend(&self) -> &'static [&'static str] {
        &[
            "score: 1 for an answer equal to the expected one but for white space around it, unless the row's \
             `metric` says contains, triples or rouge-l",
            "every ability counts the same; kept: what is left of the score before, in percent",
        ]
    }
}

/// What became of each ability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of all together.
    #[serde(flatten)]
    pub all: Measured,
    /// Of each, in the order in which the rows first name them.
    pub abilities: Vec<Measured>,
}

/// Score and loss of an ability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Rows that test it.
    pub rows: usize,
    /// The mean score.
    pub score: Course,
    /// The mean loss, if the rows have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Course>,
}

/// A number before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Course {
    /// What it is now.
    pub after: f64,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// The difference and its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// What is left of it; of a score only, and only where there was something to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

impl Report {
    /// Measures rows, and what they were with the answers of another model to the same rows.
    ///
    /// # Errors
    /// If a row lacks what is measured, or only some rows have a loss.
    pub fn new(rows: &[Prediction], before: Option<&[Prediction]>) -> Result<Self> {
        Self::of_runs(&[rows], before)
    }

    /// Measures several models' answers to the same rows: the mean over the models.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_runs(runs: &[&[Prediction]], before: Option<&[Prediction]>) -> Result<Self> {
        let answers: Vec<Answers> = runs
            .iter()
            .map(|rows| Answers::of(rows))
            .collect::<Result<_>>()?;
        let now = Answers::mean(&answers);
        let before = before.map(Answers::of).transpose()?;
        let measured = |name: &str, groups: &[Vec<usize>]| Measured {
            name: name.to_string(),
            rows: groups.iter().map(Vec::len).sum(),
            score: course(
                groups,
                &now.scores,
                before.as_ref().map(|b| &b.scores[..]),
                true,
            ),
            loss: now.losses.as_deref().map(|losses| {
                let before = before.as_ref().and_then(|before| before.losses.as_deref());
                course(groups, losses, before, false)
            }),
        };
        let (names, groups) = groups(runs.first().copied().unwrap_or_default())?;
        Ok(Self {
            all: measured("", &groups),
            abilities: names
                .iter()
                .zip(&groups)
                .map(|(name, group)| measured(name, std::slice::from_ref(group)))
                .collect(),
        })
    }
}

/// What is measured of each row.
struct Answers {
    scores: Vec<f64>,
    losses: Option<Vec<f64>>,
}

impl Answers {
    /// The means of each row over several models; a loss that only some models have is left out.
    fn mean(runs: &[Self]) -> Self {
        let rows = runs.iter().map(|run| run.scores.len()).min().unwrap_or(0);
        let over = |of: &dyn Fn(&Self) -> Option<&[f64]>| -> Option<Vec<f64>> {
            let runs: Vec<&[f64]> = runs.iter().map(of).collect::<Option<_>>()?;
            let row = |row: usize| mean(&runs.iter().map(|run| run[row]).collect::<Vec<_>>());
            Some((0..rows).map(row).collect())
        };
        Self {
            scores: over(&|run| Some(&run.scores)).unwrap_or_default(),
            losses: over(&|run| run.losses.as_deref()),
        }
    }

    fn of(rows: &[Prediction]) -> Result<Self> {
        let (mut scores, mut losses) = (Vec::new(), Vec::new());
        for row in rows {
            let found = Abilities.score(row)?;
            scores.extend(found.get("score"));
            losses.extend(found.get("loss"));
            if !losses.is_empty() && losses.len() != scores.len() {
                return Err(row.wrong(format!(
                    "the rows before and this one differ in whether they have a `{LOSS}`; all have one, or none"
                )));
            }
        }
        Ok(Self {
            scores,
            losses: (!losses.is_empty()).then_some(losses),
        })
    }
}

/// The abilities and the rows of each.
fn groups(rows: &[Prediction]) -> Result<(Vec<&str>, Vec<Vec<usize>>)> {
    let (mut names, mut groups) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let name = ability(row)?;
        let known = names.iter().position(|known| *known == name);
        let at = known.unwrap_or_else(|| {
            names.push(name);
            groups.push(Vec::new());
            names.len() - 1
        });
        groups[at].push(index);
    }
    Ok((names, groups))
}

fn ability(row: &Prediction) -> Result<&str> {
    match row.optional_text(ABILITY)? {
        Some(name) if !name.is_empty() => Ok(name),
        Some(_) => Err(row.wrong(format!("`{ABILITY}` is empty"))),
        None => Err(row.wrong(format!(
            "no `{ABILITY}`; rows of this task name what they test under it"
        ))),
    }
}

/// A number of groups of rows before and after.
fn course(groups: &[Vec<usize>], now: &[f64], before: Option<&[f64]>, is_score: bool) -> Course {
    let of = |values: &[f64]| {
        let means: Vec<f64> = groups
            .iter()
            .map(|group| mean(&group.iter().map(|row| values[*row]).collect::<Vec<_>>()))
            .collect();
        mean(&means)
    };
    let pairs = before.map(|before| -> Vec<Vec<(f64, f64)>> {
        let pair = |row: &usize| (now[*row], before[*row]);
        groups
            .iter()
            .map(|group| group.iter().map(pair).collect())
            .collect()
    });
    let difference = pairs.as_ref().map(|pairs| {
        let differences = pairs
            .iter()
            .map(|group| group.iter().map(|(now, before)| now - before));
        bootstrap::stratified(&differences.map(Iterator::collect).collect::<Vec<_>>())
    });
    Course {
        after: of(now),
        before: before.map(of),
        difference,
        kept: pairs
            .filter(|_| is_score)
            .and_then(|pairs| bootstrap::kept(&pairs)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::task::score_all;

    fn rows(texts: &[&str]) -> Result<Vec<Prediction>> {
        let rows = texts.iter().enumerate();
        rows.map(|(index, text)| Prediction::parse(Path::new("p.jsonl"), index + 1, text))
            .collect()
    }

    const AFTER: [&str; 4] = [
        r#"{"ability": "copy", "output": "ab", "generated": " ab\n", "loss": 1}"#,
        r#"{"ability": "copy", "output": "ab", "generated": "b", "loss": 2}"#,
        r#"{"ability": "sum", "output": "3", "generated": "it is 3", "metric": "contains", "loss": 4}"#,
        r#"{"ability": "triples", "output": "a_r_b", "generated": "a_r_b", "metric": "triples", "loss": 4}"#,
    ];

    #[test]
    fn abilities_count_the_same_and_are_told_apart() -> Result<()> {
        let after = rows(&AFTER)?;
        let before: Vec<String> = AFTER
            .iter()
            .map(|row| row.replace("\"b\"", "\"ab\""))
            .collect();
        let before = rows(&before.iter().map(String::as_str).collect::<Vec<_>>())?;
        let report = Report::new(&after, Some(&before))?;
        let copy = &report.abilities[0];
        assert_eq!((copy.name.as_str(), copy.rows), ("copy", 2));
        assert_eq!((copy.score.after, copy.score.before), (0.5, Some(1.0)));
        assert_eq!(copy.score.kept.map(|kept| kept.percent), Some(50.0));
        assert_eq!(copy.loss.as_ref().map(|loss| loss.after), Some(1.5));
        assert_eq!(report.all.score.after, 2.5 / 3.0);
        let whole = score_all(&Abilities, &after)?.whole;
        assert_eq!(whole.get("score"), Some(2.5 / 3.0));
        assert_eq!(whole.get("loss/sum"), Some(4.0));
        Ok(())
    }

    #[test]
    fn rows_that_cannot_be_measured_are_refused_by_line() -> Result<()> {
        let cases = [
            (
                r#"{"output": "a", "generated": "a"}"#,
                "line 2: no `ability`",
            ),
            (
                r#"{"ability": "", "output": "a", "generated": "a"}"#,
                "line 2: `ability` is empty",
            ),
            (
                r#"{"ability": "x", "output": "a", "generated": "a"}"#,
                "line 2: the rows before and this one differ",
            ),
            (
                r#"{"ability": "x", "output": "a", "generated": "a", "metric": "bleu", "loss": 1}"#,
                "line 2: `metric` is \"bleu\"; expected one of exact",
            ),
            (
                r#"{"ability": "x", "output": "a", "generated": "a", "loss": "low"}"#,
                "line 2: `loss` must be a finite number",
            ),
        ];
        for (bad, expected) in cases {
            let message = match Report::new(&rows(&[AFTER[0], bad])?, None) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(message.contains(expected), "{bad}: {message}");
        }
        Ok(())
    }
}

//! What can be scored.

use crate::error::Result;
use crate::predictions::Prediction;
use crate::scores::Scores;

/// A way to score predictions.
pub trait Task {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The scores of a row.
    ///
    /// # Errors
    /// If the row lacks what is scored.
    fn score(&self, row: &Prediction) -> Result<Scores>;

    /// The scores of all rows together; `scores` are those of the rows, in their order.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn summarize(&self, _rows: &[Prediction], scores: &[Scores]) -> Result<Scores> {
        Ok(Scores::means(scores.iter()))
    }

    /// What the scores mean, a line each, for people.
    fn legend(&self) -> &'static [&'static str];
}

/// A task's scores of a file of predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Of each row.
    pub rows: Vec<Scores>,
    /// Of all together.
    pub whole: Scores,
}

/// Scores rows.
///
/// # Errors
/// As [`Task::score`].
pub fn score_all(task: &dyn Task, rows: &[Prediction]) -> Result<Scored> {
    let scores = rows.iter().map(|row| task.score(row));
    let scores: Vec<Scores> = scores.collect::<Result<_>>()?;
    Ok(Scored {
        whole: task.summarize(rows, &scores)?,
        rows: scores,
    })
}

/// The mean of the scores that each of several answers gets.
pub(crate) fn over_answers<'a>(answers: Vec<&'a str>, score: impl Fn(&'a str) -> Scores) -> Scores {
    let scores: Vec<Scores> = answers.into_iter().map(score).collect();
    Scores::means(scores.iter())
}

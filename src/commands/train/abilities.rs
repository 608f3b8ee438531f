//! Rows by the ability that they test.

use std::path::Path;

use glmtune_eval::abilities::ABILITY;
use glmtune_model::GlmBackend;
use glmtune_training::data::Dataset;
use glmtune_training::validation::Ability;
use serde_json::Value;

use super::answers::{AnsweredRows, Answers};
use crate::commands::error::{Error, Result};

/// The abilities in the order in which the rows first name them, each with its rows.
///
/// # Errors
/// If a row names none.
pub fn split(
    rows: &Dataset,
    answered: &AnsweredRows,
    path: &Path,
) -> Result<Vec<(String, Dataset)>> {
    let mut found: Vec<(String, Vec<usize>)> = Vec::new();
    for row in 0..rows.len() {
        let line = rows.line(row);
        let name = match answered.field(line, ABILITY) {
            Some(Value::String(name)) if !name.is_empty() => name.clone(),
            Some(_) => {
                return Err(Error::row(
                    path,
                    line,
                    format!("key `{ABILITY}` must be a string"),
                ));
            }
            None => {
                let detail = format!("key `{ABILITY}` is missing: it names what the row tests");
                return Err(Error::row(path, line, detail));
            }
        };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => found.push((name, vec![row])),
        }
    }
    let found = found.into_iter();
    Ok(found
        .map(|(name, places)| (name, rows.select(&places)))
        .collect())
}

/// An ability, whose answers are scored where the model can give some.
pub fn ability<B: GlmBackend>(
    name: String,
    dataset: Dataset,
    answers: Option<Answers>,
) -> Ability<B> {
    Ability {
        name,
        dataset,
        scorer: answers.map(|answers| Box::new(answers) as _),
    }
}

//! What a run has left: its training's numbers and its answers.

use std::path::Path;

use glmtune_eval::comparison::{Cost, Point, Training, Tuned};
use glmtune_eval::{Prediction, predictions};
use glmtune_model::files::{self, Limit};
use serde_json::Value;

use super::folders::RunFolder;
use super::mark::Mark;
use super::stages::{ABILITIES, ANSWERS, LOSSES, TRAIN};
use crate::commands::error::Result;

/// How a log marks the beginning of a training, and what a training says of its best model.
const COMMAND: &str = "$ glmtune ";
const BEST: &str = "the best model is that of step ";

/// Reads what a run has left.
///
/// # Errors
/// If a file is missing or malformed.
pub fn read(folder: &RunFolder, with_abilities: bool) -> Result<Tuned> {
    let steps = Steps::read(&folder.training().join("metrics.jsonl"))?;
    let log = files::read(&folder.log(TRAIN), Limit::METRICS)?;
    let log = String::from_utf8_lossy(&log);
    let (trainable, parameters) = parameters(&log).unwrap_or_default();
    let mark = |stage: &str| Mark::read(&folder.mark(stage));
    let abilities = with_abilities.then(|| abilities(folder));
    Ok(Tuned {
        cost: Cost {
            training_seconds: Some(steps.seconds),
            tokens_per_second: (steps.seconds > 0.0).then(|| steps.tokens as f64 / steps.seconds),
            peak_bytes: mark(TRAIN)
                .and_then(|mark| mark.peak_bytes)
                .map(|bytes| bytes as f64),
            step_bytes: (steps.memory > 0).then_some(steps.memory as f64),
            prediction_seconds: mark(ANSWERS).map(|mark| mark.seconds),
        },
        training: Training {
            trainable,
            parameters,
            steps: steps.last,
            tokens: steps.tokens,
            losses: Point::thinned(&steps.losses),
            validation: Point::thinned(&steps.validation),
            best_step: best_step(&log),
        },
        answers: predictions::read(&folder.answers(ANSWERS))?,
        abilities: abilities.transpose()?,
    })
}

/// Answers to the rows of the abilities, each with the loss of what was expected.
///
/// # Errors
/// If a file is missing or malformed.
pub fn abilities(folder: &RunFolder) -> Result<Vec<Prediction>> {
    let answers = predictions::read(&folder.answers(ABILITIES))?;
    let losses = predictions::read(&folder.answers(LOSSES))?;
    // A row whose expected answer was cut off has no loss, and then no row has.
    let losses: Option<Vec<f64>> = losses
        .iter()
        .map(|row| row.number(predictions::LOSS).ok())
        .collect();
    Ok(
        match losses.filter(|losses| losses.len() == answers.len()) {
            Some(losses) => answers
                .into_iter()
                .zip(losses)
                .map(|(answer, loss)| answer.with_loss(loss))
                .collect(),
            None => answers,
        },
    )
}

/// The numbers of a training's steps.
#[derive(Debug, Default, PartialEq)]
struct Steps {
    last: u64,
    tokens: u64,
    seconds: f64,
    memory: u64,
    losses: Vec<(u64, f64)>,
    validation: Vec<(u64, f64)>,
}

impl Steps {
    fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path, Limit::METRICS)?;
        Ok(Self::of(&text))
    }

    /// Of the lines of `metrics.jsonl`; what is not an object of a step is passed over.
    fn of(text: &str) -> Self {
        let mut steps = Self::default();
        for line in text.lines() {
            let Ok(row) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let Some(step) = row["step"].as_u64() else {
                continue;
            };
            let loss = row["loss"].as_f64().map(|loss| (step, loss));
            match row["split"].as_str() {
                Some("eval") => {
                    steps.validation.extend(loss);
                    continue;
                }
                Some("train") | None => {}
                Some(_) => continue,
            }
            steps.losses.extend(loss);
            steps.last = steps.last.max(step);
            steps.tokens += row["tokens"].as_u64().unwrap_or(0);
            steps.seconds += row["seconds"].as_f64().unwrap_or(0.0);
            steps.memory = steps.memory.max(row["memory_bytes"].as_u64().unwrap_or(0));
        }
        steps
    }
}

/// Trained and all parameters, from the line that a training prints: `trainable params: 1,234 || all params: …`.
fn parameters(log: &str) -> Option<(u64, u64)> {
    let line = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("trainable params: "))?;
    let mut parts = line.split(" || ");
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    let trainable = number(parts.next()?)?;
    let all = number(parts.next()?.strip_prefix("all params: ")?)?;
    Some((trainable, all))
}

/// The step whose model the training has ended with, from the line that it prints then: `the best model is that of
/// step 12, loss …`. The log may hold earlier trainings, which end at their last steps or at others.
fn best_step(log: &str) -> Option<u64> {
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.starts_with(COMMAND) || line.starts_with(BEST))?;
    let step = line.strip_prefix(BEST)?.split(',').next()?;
    step.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_validations_are_told_apart() {
        let text = "{\"step\": 1, \"loss\": 2.0, \"tokens\": 5, \"seconds\": 0.5, \"memory_bytes\": 7}\n\
                    {\"step\": 1, \"split\": \"eval\", \"loss\": 1.5}\n\
                    {\"step\": 0, \"split\": \"general\", \"loss\": 9}\ntorn\n\
                    {\"step\": 2, \"loss\": null, \"tokens\": 5, \"seconds\": 0.5, \"memory_bytes\": 6}\n";
        let steps = Steps::of(text);
        assert_eq!(
            (steps.last, steps.tokens, steps.seconds, steps.memory),
            (2, 10, 1.0, 7)
        );
        assert_eq!(
            (steps.losses, steps.validation),
            (vec![(1, 2.0)], vec![(1, 1.5)])
        );
    }

    #[test]
    fn the_last_line_of_parameters_counts() {
        let log = "trainable params: 1 || all params: 2 || trainable%: 50\nx\n\
                   trainable params: 1,234 || all params: 56,789 || trainable%: 2.1730";
        assert_eq!(parameters(log), Some((1234, 56_789)));
        assert_eq!(parameters("nothing"), None);
    }
    #[test]
    fn the_best_step_is_that_of_the_last_training() {
        let log = "$ glmtune train a\nthe best model is that of step 12, loss 0.5: saved out/best\n1 steps";
        assert_eq!(best_step(log), Some(12));
        assert_eq!(best_step(&format!("{log}\n$ glmtune train b\n")), None);
        assert_eq!(best_step(""), None);
    }
}

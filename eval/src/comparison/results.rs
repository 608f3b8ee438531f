//! The results of a comparison, as `results.json` holds them.
//!
//! What was measured with a clock or of a machine stands under `measured` and nowhere else: without these objects
//! the results of the same settings are the same, on a machine that computes the same.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::abilities;
use crate::bootstrap::Difference;
use crate::scores::{Scores, mean};

/// The version of the file's form.
pub const SCHEMA: u32 = 1;

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The task whose scores these are.
    pub task: String,
    /// The score that stands for the others.
    pub score: String,
    /// Test rows.
    pub rows: usize,
    /// Before any tuning.
    pub base: Base,
    /// What became of it by each method, in the order of the settings.
    pub methods: Vec<Method>,
    /// Rows on which the models differ most.
    pub examples: Vec<Example>,
    /// What all runs have in common.
    pub settings: Map<String, Value>,
}

/// The base model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Base {
    /// Its scores.
    pub scores: Scores,
    /// Its abilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<abilities::Report>,
}

impl Base {
    /// Whether it has abilities of which something can be kept.
    pub fn knows_something(&self) -> bool {
        let abilities = self.abilities.as_ref();
        abilities.is_some_and(|found| found.all.score.after > 0.0)
    }
}

/// A way of tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Over its runs; none if no run is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// One per seed.
    pub runs: Vec<Run>,
    /// Its settings.
    pub settings: Map<String, Value>,
}

/// A method over its runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The score that stands for the others.
    pub score: Spread,
    /// Its difference from the base's: rows in pairs, each with its mean over the seeds.
    pub difference: Difference,
    /// All scores.
    pub scores: Vec<NamedSpread>,
    /// What is left of the base's abilities, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Spread>,
    /// The abilities: each row with its mean over the seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<abilities::Report>,
    /// Trained parameters in percent of all.
    pub trainable_percent: f64,
    /// What a run took, on average.
    pub measured: Cost,
}

/// A score over the runs of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedSpread {
    /// The score's name.
    pub name: String,
    /// The score.
    #[serde(flatten)]
    pub spread: Spread,
}

/// A number over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a sample; none of a single run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
}

impl Spread {
    /// Of some values.
    pub fn of(values: &[f64]) -> Self {
        let center = mean(values);
        let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
        Self {
            mean: center,
            sd: (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt()),
        }
    }
}

/// A run of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// What became of it.
    pub state: State,
    /// The last lines of what a failed run said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<String>,
    /// Its scores, if it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// Abilities after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<abilities::Report>,
    /// What is left of the base's abilities, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// The training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// What it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Cost>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is done.
    Done,
    /// It ended with an error.
    Failed,
    /// It has not been done yet.
    Pending,
}

/// A training.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Training {
    /// Trained parameters.
    pub trainable: u64,
    /// All parameters.
    pub parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens of the rows of all steps.
    pub tokens: u64,
    /// Training loss: means of stretches of steps, each with its last step.
    pub losses: Vec<Point>,
    /// Loss of the rows kept for validation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<Point>,
    /// The step of the best validation, where its model was compared and not the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_step: Option<u64>,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The step.
    pub step: u64,
    /// The loss.
    pub loss: f64,
}

/// Points of a curve at most.
const MAX_POINTS: usize = 40;

impl Point {
    /// A curve of at most `MAX_POINTS` points: the means of stretches of equal length, each at its last step. What
    /// is not finite does not count.
    pub fn thinned(points: &[(u64, f64)]) -> Vec<Self> {
        let points: Vec<_> = points.iter().filter(|(_, loss)| loss.is_finite()).collect();
        let stretches = points.chunks(points.len().div_ceil(MAX_POINTS).max(1));
        stretches
            .filter_map(|stretch| {
                let losses: Vec<f64> = stretch.iter().map(|point| point.1).collect();
                let step = stretch.last()?.0;
                Some(Self {
                    step,
                    loss: mean(&losses),
                })
            })
            .collect()
    }
}

/// What a run took; a number that could not be measured is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Cost {
    /// Duration of the training's steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_seconds: Option<f64>,
    /// Tokens of a second of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Most memory that the training's process had at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<f64>,
    /// Most memory in use at the end of a step: of the device, where it is not the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_bytes: Option<f64>,
    /// Duration of answering the test rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction_seconds: Option<f64>,
}

impl Cost {
    /// The means over some runs.
    pub fn mean(costs: &[Self]) -> Self {
        let over = |of: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = costs.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| mean(&values))
        };
        Self {
            training_seconds: over(|cost| cost.training_seconds),
            tokens_per_second: over(|cost| cost.tokens_per_second),
            peak_bytes: over(|cost| cost.peak_bytes),
            step_bytes: over(|cost| cost.step_bytes),
            prediction_seconds: over(|cost| cost.prediction_seconds),
        }
    }
}

/// A test row and what each model answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// Its number, from 1.
    pub row: usize,
    /// What was asked.
    pub question: String,
    /// The expected answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The models' answers: the base's, then that of each method's first run that is done.
    pub answers: Vec<ExampleAnswer>,
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExampleAnswer {
    /// The method; none of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The answer.
    pub text: String,
    /// Its score.
    pub score: f64,
}

//! What a comparison is made of.

use serde_json::{Map, Value};

use super::results::{Cost, Training};
use crate::predictions::Prediction;
use crate::task::Task;

/// A base model's answers, and those of the models tuned from it.
pub struct Inputs<'a> {
    /// How the answers are scored.
    pub task: &'a dyn Task,
    /// The score that stands for the others; by default the task's own choice.
    pub score: Option<String>,
    /// What all runs have in common.
    pub settings: Map<String, Value>,
    /// The base model's answers to the test rows.
    pub base: Vec<Prediction>,
    /// The base model's answers to the rows of the abilities.
    pub base_abilities: Option<Vec<Prediction>>,
    /// The methods.
    pub methods: Vec<MethodInput>,
    /// Rows to show as examples.
    pub examples: usize,
}

/// A way of tuning.
pub struct MethodInput {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// A run per seed.
    pub runs: Vec<RunInput>,
}

/// A run.
pub struct RunInput {
    /// Its seed.
    pub seed: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a run.
pub enum Outcome {
    /// It is done.
    Done(Box<Tuned>),
    /// It failed: the last lines of what it said.
    Failed(Vec<String>),
    /// It has not been done yet.
    Pending,
}

/// A tuned model: its training and its answers.
pub struct Tuned {
    /// The training.
    pub training: Training,
    /// Answers to the test rows.
    pub answers: Vec<Prediction>,
    /// Answers to the rows of the abilities.
    pub abilities: Option<Vec<Prediction>>,
    /// What it took.
    pub cost: Cost,
}

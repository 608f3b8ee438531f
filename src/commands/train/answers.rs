//! Answers of a model in training to rows of a file, and their score.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glmtune_eval::predictions::GENERATED;
use glmtune_eval::task::score_all;
use glmtune_eval::{Prediction, Scores};
use glmtune_model::generation::{
    Answer, BatchEvent, Batching, GenerationOptions, generate_batches,
};
use glmtune_model::rows::{IGNORED, Question, Row, RowPrompts, read_questions};
use glmtune_model::tokenizer::{Mode, Tokenizer};
use glmtune_model::{CausalLm, GlmBackend};
use glmtune_training::data::Dataset;
use glmtune_training::settings::TrainSettings;
use glmtune_training::validation::{Score, Scorer};
use serde_json::{Map, Value};

use super::request::Request;
use crate::cli::TaskChoice;
use crate::commands::error::{Error, Result};
use crate::commands::eval::task;

/// An answer may be so many times as long as the longest that is expected, and some tokens.
const LONGER: usize = 2;
const MORE: usize = 16;
/// What an answer is compared with, and what it is about, as evaluation calls them.
const REFERENCE: &str = "output";
const DOCUMENT: [&str; 2] = ["text", "input"];

/// A row of a file: what the model is asked, and everything that the row says.
#[derive(Debug, Clone)]
struct AnsweredRow {
    line: usize,
    prompt: Vec<u32>,
    fields: Map<String, Value>,
}

/// The rows of a file by their lines.
#[derive(Debug)]
pub struct AnsweredRows {
    path: PathBuf,
    by_line: HashMap<usize, AnsweredRow>,
    tokenizer: Option<Arc<Tokenizer>>,
    mode: Mode,
    stop_ids: Vec<u32>,
}

impl AnsweredRows {
    /// Reads the rows once more, and makes their prompts.
    ///
    /// # Errors
    /// If the file cannot be read, or can be read only once.
    pub fn read<B: GlmBackend>(
        request: &Request<'_, B>,
        path: &Path,
        settings: &TrainSettings,
    ) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::Request(format!(
                "{}: rows that are answered are read twice, so that they must be in a regular file",
                path.display()
            )));
        }
        let (info, mode) = (request.info, settings.mode);
        let questions = read_questions(path, &request.args.layout.format())?;
        let tokenizer = info.tokenizer.as_ref();
        let prompts = RowPrompts::new(&info.config, tokenizer, mode, settings.limits)?;
        let prompts = prompts.of_all(questions.iter().map(|question| &question.row.row))?;
        let rows = questions
            .into_iter()
            .zip(prompts)
            .map(|(question, prompt)| {
                let line = question.row.line;
                let fields = fields(path, &question)?;
                let row = AnsweredRow {
                    line,
                    prompt: prompt.ids,
                    fields,
                };
                Ok((line, row))
            });
        // The training's own is lent to it alone.
        let dir = &request.args.model.model_name_or_path;
        Ok(Self {
            path: path.to_path_buf(),
            by_line: rows.collect::<Result<_>>()?,
            tokenizer: Tokenizer::find(dir, Some(mode))?.map(Arc::new),
            mode,
            stop_ids: info.stop_ids(),
        })
    }

    /// What the row of a line says under a key.
    pub fn field(&self, line: usize, key: &str) -> Option<&Value> {
        self.by_line.get(&line)?.fields.get(key)
    }

    /// Has some of the rows answered and scored.
    ///
    /// # Errors
    /// If a row has nothing to compare an answer with.
    pub fn of(&self, rows: &Dataset, task: TaskChoice, batch_size: usize) -> Result<Answers> {
        let all = (0..rows.len()).filter_map(|row| self.by_line.get(&rows.line(row)));
        let all: Vec<AnsweredRow> = all.cloned().collect();
        if let Some(row) = all.iter().find(|row| !row.fields.contains_key(REFERENCE)) {
            let detail = "the row has no text that an answer could be compared with";
            return Err(Error::row(&self.path, row.line, detail));
        }
        let targets = (0..rows.len()).map(|row| {
            let labels = rows.labels(row);
            labels.iter().filter(|&&label| label != IGNORED).count()
        });
        Ok(Answers {
            path: self.path.clone(),
            options: GenerationOptions {
                max_new_tokens: LONGER * targets.max().unwrap_or(0) + MORE,
                stop_ids: self.stop_ids.clone(),
                ..GenerationOptions::default()
            },
            rows: all,
            task,
            batch_size,
            tokenizer: self.tokenizer.clone(),
            mode: self.mode,
        })
    }
}

/// Everything that a row says, under the names that evaluation knows.
fn fields(path: &Path, question: &Question) -> Result<Map<String, Value>> {
    let line = question.row.line;
    let parsed = serde_json::from_str(&question.text);
    let mut fields: Map<String, Value> =
        parsed.map_err(|error| Error::row(path, line, error.to_string()))?;
    if let Row::Text { question, answer } = &question.row.row {
        fields.insert(REFERENCE.to_string(), answer.as_str().into());
        if !DOCUMENT.iter().any(|key| fields.contains_key(*key)) {
            fields.insert(DOCUMENT[0].to_string(), question.as_str().into());
        }
    }
    Ok(fields)
}

/// Rows that a model answers, the likeliest token each time, and how the answers are scored.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    rows: Vec<AnsweredRow>,
    task: TaskChoice,
    options: GenerationOptions,
    batch_size: usize,
    tokenizer: Option<Arc<Tokenizer>>,
    mode: Mode,
}

impl<B: GlmBackend> Scorer<B> for Answers {
    fn score(&self, model: &CausalLm<B>) -> glmtune_training::Result<Vec<Score>> {
        let answers = self.answers(model)?;
        let scores = self.scores(&answers);
        let scores = scores.map_err(|error| glmtune_training::Error::Scoring(error.to_string()))?;
        Ok(main_first(self.task, &scores))
    }
}

impl Answers {
    fn answers<B: GlmBackend>(
        &self,
        model: &CausalLm<B>,
    ) -> glmtune_model::error::Result<Vec<String>> {
        let prompts: Vec<Vec<u32>> = self.rows.iter().map(|row| row.prompt.clone()).collect();
        let mut answers = vec![String::new(); prompts.len()];
        let batching = Batching {
            batch_size: self.batch_size,
            first: 0,
        };
        generate_batches(model, &prompts, &self.options, batching, &mut |event| {
            if let BatchEvent::Answered(answer) = event {
                answers[answer.prompt] = self.text(&answer);
            }
            Ok::<_, glmtune_model::Error>(ControlFlow::Continue(()))
        })?;
        Ok(answers)
    }

    fn text(&self, answer: &Answer) -> String {
        let sequence = answer.sequences.first();
        let text = sequence.zip(self.tokenizer.as_ref());
        text.map_or_else(String::new, |(sequence, tokenizer)| {
            tokenizer.decode_answer(self.mode, &sequence.tokens)
        })
    }

    fn scores(&self, answers: &[String]) -> glmtune_eval::Result<Scores> {
        let rows = self.rows.iter().zip(answers).map(|(row, answer)| {
            let mut fields = row.fields.clone();
            fields.insert(GENERATED.to_string(), answer.as_str().into());
            Prediction::parse(&self.path, row.line, &Value::Object(fields).to_string())
        });
        let rows: Vec<Prediction> = rows.collect::<glmtune_eval::Result<_>>()?;
        Ok(score_all(task(self.task).as_ref(), &rows)?.whole)
    }
}

/// The scores of all rows together, without those of parts of them; the one that counts comes first.
fn main_first(task: TaskChoice, scores: &Scores) -> Vec<Score> {
    let main = match task {
        TaskChoice::Triples => "f1",
        TaskChoice::Text => "rouge-l-jieba",
        TaskChoice::Questions => "total",
        TaskChoice::Abilities => "score",
        TaskChoice::Perplexity => "loss",
    };
    let all = scores.iter().filter(|(name, _)| !name.contains('/'));
    let mut all: Vec<Score> = all.map(|(name, score)| (name.to_string(), score)).collect();
    all.sort_by_key(|(name, _)| name != main);
    all
}

//! The rows of the file, and what the model is asked by each.

use glmtune_model::ModelInfo;
use glmtune_model::rows::{LayoutLimits, Question, Row, RowFormat, RowPrompts, read_questions};
use glmtune_model::tokenizer::PromptFormat;

use crate::cli::PredictArgs;
use crate::commands::console::note;
use crate::commands::error::{Error, Result};

/// The rows of a file.
pub struct Questions {
    rows: Vec<Question>,
    prompts: Vec<Vec<u32>>,
    /// How the rows were read: the text before each of them included.
    pub format: RowFormat,
    /// How they were cut.
    pub limits: LayoutLimits,
}

impl Questions {
    /// Reads the rows and makes their prompts.
    pub fn read(args: &PredictArgs, info: &ModelInfo) -> Result<Self> {
        let limits = LayoutLimits::new(info.mode, args.layout.max_len, args.layout.max_src_len);
        let makes_prompts =
            RowPrompts::new(&info.config, info.tokenizer.as_ref(), info.mode, limits)?;
        let mut format = args.layout.format();
        let mut rows = read_questions(&args.test_path, &format)?;
        if rows.is_empty() {
            return Err(Error::Request(format!(
                "{}: no rows",
                args.test_path.display()
            )));
        }
        if args.layout.prompt_text.is_none() {
            format.prompt_text = noted_text(info);
            put_before(&mut rows, &format.prompt_text);
        }
        let prompts = makes_prompts.of_all(rows.iter().map(|question| &question.row.row))?;
        let truncated = prompts.iter().filter(|prompt| prompt.truncated).count();
        if truncated > 0 {
            note(format!(
                "{truncated} of {} rows are cut to --max_src_len {}",
                rows.len(),
                limits.max_src_len
            ));
        }
        let questions = Self {
            prompts: prompts.into_iter().map(|prompt| prompt.ids).collect(),
            rows,
            format,
            limits,
        };
        questions.check(args, info)?;
        Ok(questions)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row as it is written.
    pub fn text(&self, row: usize) -> &str {
        &self.rows[row].text
    }

    /// The line of a row in its file.
    pub fn line(&self, row: usize) -> usize {
        self.rows[row].row.line
    }

    /// What the model is asked, row by row.
    pub fn prompts(&self) -> &[Vec<u32>] {
        &self.prompts
    }

    /// Tokens of the longest prompt.
    pub fn longest(&self) -> usize {
        self.prompts.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn check(&self, args: &PredictArgs, info: &ModelInfo) -> Result<()> {
        let vocabulary = info.config.common().vocab_size;
        for (question, ids) in self.rows.iter().zip(&self.prompts) {
            let outside = ids.iter().find(|&&id| id as usize >= vocabulary);
            let detail = match outside {
                Some(id) => {
                    format!("token {id} is outside the model's vocabulary of {vocabulary}")
                }
                None if ids.is_empty() => {
                    "the row asks nothing: no token before its targets".into()
                }
                None => match info.config.row_fault(ids) {
                    Some(detail) => detail,
                    None => continue,
                },
            };
            return Err(glmtune_model::Error::Row {
                path: args.test_path.clone(),
                line: question.row.line,
                detail,
                others: 0,
            }
            .into());
        }
        Ok(())
    }
}

/// The text that stood before every row of the training, where the model or an adapter notes one.
fn noted_text(info: &ModelInfo) -> String {
    let prompting = info.prompting(Some(PromptFormat::Training));
    let text = prompting.prompt_text();
    if !text.is_empty() {
        note(format!(
            "before every row stands the text of the training: {text} (--prompt_text gives another one)"
        ));
    }
    text.to_string()
}

/// Rows of ids have it already.
fn put_before(rows: &mut [Question], text: &str) {
    for question in rows {
        if let Row::Text { question, .. } = &mut question.row.row {
            question.insert_str(0, text);
        }
    }
}

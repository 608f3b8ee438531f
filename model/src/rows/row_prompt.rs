//! What a model is asked by a row: the row as it is trained on, up to the answer.

use rayon::prelude::*;

use super::IGNORED;
use super::layout::Source;
use super::limits::LayoutLimits;
use super::row::Row;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::tokenizer::{Mode, Tokenizer};

/// The prompt of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPrompt {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether the source was cut to its limit.
    pub truncated: bool,
}

/// Makes prompts of rows.
#[derive(Debug, Clone)]
pub struct RowPrompts<'a> {
    tokenizer: Option<&'a Tokenizer>,
    mode: Mode,
    limits: LayoutLimits,
    /// The special tokens between source and answer: in training they are targets, here they are given.
    answer_opening: Vec<u32>,
}

impl<'a> RowPrompts<'a> {
    /// For a model, its tokenizer and the limits of its rows.
    ///
    /// # Errors
    /// If the limits leave no room, or the tokenizer lacks a token of the layout.
    pub fn new(
        config: &ModelConfig,
        tokenizer: Option<&'a Tokenizer>,
        mode: Mode,
        limits: LayoutLimits,
    ) -> Result<Self> {
        limits.validate(mode)?;
        let answer_opening = match (tokenizer, config) {
            (Some(tokenizer), _) => tokenizer.answer_opening(mode)?,
            (None, ModelConfig::ChatGlm(config)) => vec![config.bos_token_id],
            (None, ModelConfig::ChatGlm2(_)) => Vec::new(),
        };
        Ok(Self {
            tokenizer,
            mode,
            limits,
            answer_opening,
        })
    }

    /// The prompt of a row; that of a row of ids ends where its targets begin.
    ///
    /// # Errors
    /// If the row has text and there is no tokenizer.
    pub fn of(&self, row: &Row) -> Result<RowPrompt> {
        match row {
            Row::Text { question, .. } => self.of_text(question),
            Row::Ids { input_ids, labels } => Ok(RowPrompt {
                ids: self.of_ids(input_ids, labels).to_vec(),
                truncated: false,
            }),
        }
    }

    /// The prompts of many rows, made in parallel, in their order.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_all<'b>(&self, rows: impl IntoIterator<Item = &'b Row>) -> Result<Vec<RowPrompt>> {
        let rows: Vec<&Row> = rows.into_iter().collect();
        rows.into_par_iter().map(|row| self.of(row)).collect()
    }

    fn of_text(&self, question: &str) -> Result<RowPrompt> {
        let tokenizer = self.tokenizer.ok_or_else(|| {
            Error::Request(
                "rows of text need a tokenizer, and the model directory has none".to_string(),
            )
        })?;
        let source = Source::new(question, tokenizer, self.mode, self.limits)?;
        let mut ids = source.context(self.mode, &tokenizer.opening()?);
        ids.extend(&self.answer_opening);
        Ok(RowPrompt {
            ids,
            truncated: source.is_cut,
        })
    }

    fn of_ids<'b>(&self, input_ids: &'b [u32], labels: &[i64]) -> &'b [u32] {
        let first = labels.iter().position(|&label| label != IGNORED);
        let Some(first) = first else {
            return input_ids;
        };
        let has_opening = input_ids[first..].starts_with(&self.answer_opening);
        let opening = if has_opening {
            self.answer_opening.len()
        } else {
            0
        };
        &input_ids[..first + opening]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Prompting, lay_out};
    use super::*;
    use crate::tokenizer::small::tests::opened_small_tokenizer;
    use crate::tokenizer::{Message, PromptFormat, Role};

    fn prompts(tokenizer: &Tokenizer, mode: Mode, limits: LayoutLimits) -> RowPrompts<'_> {
        RowPrompts {
            tokenizer: Some(tokenizer),
            mode,
            limits,
            answer_opening: tokenizer.answer_opening(mode).unwrap(),
        }
    }

    proptest! {
        /// A prompt and the rest of its row are the row, however much was cut off; the rest spells the answer; and
        /// the ids of a row ask what its text asks.
        #[test]
        fn a_prompt_is_its_row_up_to_the_answer(
            mode in prop::sample::select(Mode::ALL.to_vec()),
            question in "\\PC{0,20}",
            answer in "[a-z]{1,8}",
            max_src_len in 8usize..60,
        ) {
            let tokenizer = opened_small_tokenizer(mode);
            let limits = LayoutLimits::new(mode, 120, Some(max_src_len));
            let row = Row::Text { question, answer: answer.clone() };
            let laid_out = lay_out(&row, Some(&tokenizer), mode, limits).unwrap();
            let found = prompts(&tokenizer, mode, limits).of(&row).unwrap();
            let ids = Row::Ids {
                input_ids: laid_out.row.input_ids.clone(),
                labels: laid_out.row.labels,
            };
            prop_assert_eq!(&prompts(&tokenizer, mode, limits).of(&ids).unwrap().ids, &found.ids);
            prop_assert_eq!(found.truncated, laid_out.truncated);
            let rest = laid_out.row.input_ids.strip_prefix(found.ids.as_slice()).unwrap();
            let (end, rest) = rest.split_last().unwrap();
            prop_assert_eq!(*end, tokenizer.end_id(mode).unwrap());
            prop_assert_eq!(tokenizer.decode_answer(mode, rest), answer);
        }

        #[test]
        fn a_whole_question_is_asked_as_generate_asks_it(
            mode in prop::sample::select(Mode::ALL.to_vec()),
            question in "\\PC{0,20}",
        ) {
            let tokenizer = opened_small_tokenizer(mode);
            let limits = LayoutLimits::new(mode, 512, Some(256));
            let row = Row::Text { question: question.clone(), answer: String::new() };
            let found = prompts(&tokenizer, mode, limits).of(&row).unwrap().ids;
            let prompting = Prompting::of(mode, [], Some(PromptFormat::Training));
            let asked = [Message::new(Role::User, question)];
            prop_assert_eq!(found, prompting.prompt(&tokenizer, &asked).unwrap().ids);
        }
    }

    #[test]
    fn ids_without_targets_are_all_prompt() {
        let tokenizer = opened_small_tokenizer(Mode::Glm2);
        let limits = LayoutLimits::new(Mode::Glm2, 512, None);
        let row = Row::Ids {
            input_ids: vec![5, 6],
            labels: vec![IGNORED; 2],
        };
        let found = prompts(&tokenizer, Mode::Glm2, limits).of(&row).unwrap();
        assert_eq!(found.ids, [5, 6]);
    }
}

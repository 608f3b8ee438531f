//! Questions to prompts, as a model was tuned or published.

use std::borrow::Cow;

use crate::adapters::AdapterMeta;
use crate::error::Result;
use crate::tokenizer::{ChatPrompt, Message, Mode, PromptFormat, Role, Tokenizer};

/// What makes a prompt of a conversation for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompting {
    mode: Mode,
    format: PromptFormat,
    /// Stands before the first question, as it stood before every row of the training.
    prompt_text: String,
}

impl Prompting {
    /// The prompts of a published model.
    pub fn published(mode: Mode) -> Self {
        Self {
            mode,
            format: PromptFormat::Published,
            prompt_text: String::new(),
        }
    }

    /// The prompts of a model with the notes of its directories, those of adapters before its own. A model that
    /// was tuned here answers to what its training rows asked, and a published one to what the
    /// published code asks; `asked` overrules that.
    pub fn of<'a>(
        mode: Mode,
        notes: impl IntoIterator<Item = &'a AdapterMeta>,
        asked: Option<PromptFormat>,
    ) -> Self {
        let tuned = notes.into_iter().find(|note| note.mode.is_some());
        let by_note = match tuned {
            Some(_) => PromptFormat::Training,
            None => PromptFormat::Published,
        };
        let format = asked.unwrap_or(by_note);
        let prompt_text = tuned.and_then(|note| note.prompt_text.clone());
        match format {
            PromptFormat::Published => Self::published(mode),
            PromptFormat::Training => Self {
                mode,
                format,
                prompt_text: prompt_text.unwrap_or_default(),
            },
        }
    }

    /// The prompt of a conversation whose last message asks.
    ///
    /// # Errors
    /// As [`Tokenizer::chat_prompt`].
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<ChatPrompt> {
        tokenizer.chat_prompt(self.mode, self.format, &self.with_prompt_text(messages))
    }

    /// Whose form the prompts have.
    pub fn format(&self) -> PromptFormat {
        self.format
    }

    /// Stands before the first question; usually nothing.
    pub fn prompt_text(&self) -> &str {
        &self.prompt_text
    }

    /// Whether a first question becomes another prompt than the published code makes of it.
    pub fn is_unlike_published(&self) -> bool {
        // The later families are trained on the form that their chats have.
        let other_form = self.format == PromptFormat::Training && self.mode == Mode::Glm;
        other_form || !self.prompt_text.is_empty()
    }

    fn with_prompt_text<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let first = messages.iter().position(|turn| turn.role == Role::User);
        let Some(first) = first.filter(|_| !self.prompt_text.is_empty()) else {
            return Cow::Borrowed(messages);
        };
        let mut messages = messages.to_vec();
        messages[first].content.insert_str(0, &self.prompt_text);
        Cow::Owned(messages)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{LayoutLimits, Row, lay_out};
    use super::*;
    use crate::tokenizer::small::tests::opened_small_tokenizer;

    fn tuned(prompt_text: &str) -> AdapterMeta {
        AdapterMeta {
            mode: Some("any".to_string()),
            prompt_text: Some(prompt_text.to_string()),
            ..AdapterMeta::default()
        }
    }

    proptest! {
        /// The prompt is the row up to the answer, to the letter.
        #[test]
        fn a_tuned_model_is_asked_what_its_rows_asked(
            mode in prop::sample::select(Mode::ALL.to_vec()),
            prompt_text in "[a-z ：\n]{0,6}",
            question in "\\PC{0,12}",
            answer in "[a-z\n ]{1,6}",
        ) {
            let tokenizer = opened_small_tokenizer(mode);
            let row = Row::Text {
                question: format!("{prompt_text}{question}"),
                answer: answer.clone(),
            };
            let limits = LayoutLimits::new(mode, 512, Some(256));
            let ids = lay_out(&row, Some(&tokenizer), mode, limits).unwrap().row.input_ids;
            let note = tuned(&prompt_text);
            let prompting = Prompting::of(mode, [&note], None);
            let prompt = prompting.prompt(&tokenizer, &[Message::new(Role::User, question)]);
            let rest = ids.strip_prefix(prompt.unwrap().ids.as_slice());
            // ChatGLM3's and GLM-4's prompts end with the role, as the published ones do; the line break
            // after it is the model's.
            let line_break = if mode.has_roles() { "\n" } else { "" };
            let target = tokenizer.encode(&format!("{line_break}{answer}")).unwrap();
            let expected = [target, vec![tokenizer.end_id(mode).unwrap()]].concat();
            prop_assert_eq!(rest, Some(expected.as_slice()));
        }
    }

    #[test]
    fn notes_and_flags_choose_the_form() {
        let format = |notes: &[AdapterMeta], asked| Prompting::of(Mode::Glm, notes, asked).format();
        let (note, foreign) = (tuned(""), AdapterMeta::default());
        assert_eq!(format(&[], None), PromptFormat::Published);
        assert_eq!(
            format(std::slice::from_ref(&foreign), None),
            PromptFormat::Published
        );
        assert_eq!(
            format(&[foreign, note.clone()], None),
            PromptFormat::Training
        );
        let asked = Some(PromptFormat::Published);
        assert_eq!(format(&[note], asked), PromptFormat::Published);
        let asked = Some(PromptFormat::Training);
        assert_eq!(format(&[], asked), PromptFormat::Training);
        assert!(Prompting::of(Mode::Glm, [], asked).is_unlike_published());
        assert!(!Prompting::of(Mode::Glm2, [], asked).is_unlike_published());
    }

    #[test]
    fn the_prompt_text_stands_before_the_first_question_only() {
        let prompting = Prompting::of(Mode::Glm, [&tuned("p: ")], None);
        let conversation = [
            Message::new(Role::User, "a"),
            Message::new(Role::Assistant, "b"),
            Message::new(Role::User, "c"),
        ];
        let text = prompting
            .prompt(&opened_small_tokenizer(Mode::Glm), &conversation)
            .unwrap()
            .text;
        assert_eq!(
            text.unwrap(),
            "[Round 1]\n问：p: a\n答：b\n[Round 2]\n问：c\n答："
        );
    }
}

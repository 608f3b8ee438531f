//! Prompts of the families: conversations as the published code builds them, and the source side of a
//! training row, which prediction must repeat to the letter.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::mode::Mode;
use super::settings::Settings;
use super::special::SpecialToken;
use crate::error::{Error, Result};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
    /// The result of a tool.
    Observation,
}

impl Role {
    fn token(self) -> SpecialToken {
        match self {
            Self::System => SpecialToken::System,
            Self::User => SpecialToken::User,
            Self::Assistant => SpecialToken::Assistant,
            Self::Observation => SpecialToken::Observation,
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What follows the role on its line in ChatGLM3 and GLM-4: the name of a tool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message without metadata.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            metadata: String::new(),
            content: content.into(),
        }
    }
}

/// Whose form the prompts of a conversation have. They differ in ChatGLM-6B: its published chat takes a first
/// question as it is and counts rounds from 0, while training rows ask in a round, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptFormat {
    /// That of the training rows, which a tuned model answers to.
    Training,
    /// That of the published code.
    Published,
}

impl std::str::FromStr for PromptFormat {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Request`] for anything but the two names.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "training" => Ok(Self::Training),
            "published" => Ok(Self::Published),
            _ => Err(Error::Request(format!(
                "prompt format `{name}`: expected training or published"
            ))),
        }
    }
}

/// A conversation that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The text, where the family builds one (ChatGLM-6B and ChatGLM2).
    pub text: Option<String>,
    /// The ids, special tokens included.
    pub ids: Vec<u32>,
}

impl Tokenizer {
    /// The prompt of a conversation whose last message asks.
    ///
    /// # Errors
    /// [`Error::Request`] if the conversation does not end with a question or speaks in a role that the
    /// family does not know; [`Error::Malformed`] if the vocabulary lacks a token of the format.
    pub fn chat_prompt(
        &self,
        mode: Mode,
        format: PromptFormat,
        messages: &[Message],
    ) -> Result<ChatPrompt> {
        let asks = |message: &Message| matches!(message.role, Role::User | Role::Observation);
        if !messages.last().is_some_and(asks) {
            return Err(Error::Request(
                "a conversation must end with a user's message".to_string(),
            ));
        }
        if mode.has_roles() {
            let ids = self.roles_prompt(messages)?;
            return Ok(ChatPrompt { text: None, ids });
        }
        let text = rounds_text(mode, format, messages)?;
        let ids = self.raw_prompt(mode, &text)?;
        Ok(ChatPrompt {
            text: Some(text),
            ids,
        })
    }

    /// A plain text with the special tokens that every prompt of the family has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the vocabulary lacks one of them.
    pub fn raw_prompt(&self, mode: Mode, text: &str) -> Result<Vec<u32>> {
        let opening = self.opening()?;
        let text = self.encode(text)?;
        Ok(match mode {
            Mode::Glm => [text, opening].concat(),
            _ => [opening, text].concat(),
        })
    }

    /// The source side of a training row, before truncation and without the tokens that
    /// [`raw_prompt`](Self::raw_prompt) adds: the template around the question.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the vocabulary lacks a role's token.
    pub fn row_source(&self, mode: Mode, question: &str) -> Result<Vec<u32>> {
        match mode {
            Mode::Glm | Mode::Glm2 => {
                let asks = [Message::new(Role::User, question)];
                self.encode(&rounds_text(mode, PromptFormat::Training, &asks)?)
            }
            Mode::Glm3 | Mode::Glm4 => self.turn(&Message::new(Role::User, question)),
        }
    }

    /// The target side of a training row, before truncation and without the end token.
    ///
    /// # Errors
    /// As [`row_source`](Self::row_source).
    pub fn row_target(&self, mode: Mode, answer: &str) -> Result<Vec<u32>> {
        match mode {
            Mode::Glm | Mode::Glm2 => self.encode(answer),
            Mode::Glm3 | Mode::Glm4 => self.turn(&Message::new(Role::Assistant, answer)),
        }
    }

    /// The special tokens with which the targets of a training row begin and which a prompt has already: those that
    /// tell the model to answer.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the vocabulary lacks one of them.
    pub fn answer_opening(&self, mode: Mode) -> Result<Vec<u32>> {
        Ok(match mode {
            Mode::Glm => vec![self.require(SpecialToken::Sop)?],
            Mode::Glm2 => Vec::new(),
            Mode::Glm3 | Mode::Glm4 => vec![self.require(SpecialToken::Assistant)?],
        })
    }

    /// The text of an answer: what [`row_target`](Self::row_target) made tokens of. The line break after the role
    /// of ChatGLM3 and GLM-4 is not part of it.
    pub fn decode_answer(&self, mode: Mode, tokens: &[u32]) -> String {
        if !mode.has_roles() {
            return self.decode(tokens);
        }
        // A line break is encoded by itself, so that the answer begins with what begins a text.
        let line_break = self.encode("\n").unwrap_or_default();
        let last = &line_break[line_break.len().saturating_sub(1)..];
        let rest = tokens
            .strip_prefix(line_break.as_slice())
            .or_else(|| tokens.strip_prefix(last));
        self.decode(rest.unwrap_or(tokens))
    }

    /// `[gMASK] <sop>`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the vocabulary lacks one of them.
    pub fn opening(&self) -> Result<Vec<u32>> {
        Ok(vec![
            self.require(SpecialToken::GMask)?,
            self.require(SpecialToken::Sop)?,
        ])
    }

    /// The token that ends an answer in training.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the vocabulary lacks it.
    pub fn end_id(&self, mode: Mode) -> Result<u32> {
        self.require(end(mode))
    }

    /// Checks that the tokenizer, which is that of a directory, has the tokens of a mode's prompts and answers.
    ///
    /// # Errors
    /// [`Error::Request`] that names those it lacks; as [`Self::from_dir`] if its settings cannot be read.
    pub fn check_mode(&self, dir: &Path, mode: Mode) -> Result<()> {
        // The file of the published ChatGLM2 is ChatGLM3's, but no role was ever trained on it.
        let is_chatglm2 = Settings::read(dir)?.names_chatglm2();
        let own = if is_chatglm2 { Mode::Glm2 } else { self.mode() };
        let lacking: Vec<&str> = needed(mode)
            .into_iter()
            .filter(|token| self.special(*token).is_none() || (is_chatglm2 && token.is_role()))
            .map(|token| token.names()[0])
            .collect();
        // ChatGLM2 and later have tokens by the names of ChatGLM-6B's, and its text is not theirs.
        let is_foreign = (mode == Mode::Glm) != (own == Mode::Glm);
        if lacking.is_empty() && !is_foreign {
            return Ok(());
        }
        let reason = match lacking.is_empty() {
            true => String::new(),
            false => format!(", without {}", lacking.join(", ")),
        };
        Err(Error::Request(format!(
            "{}: the tokenizer is one of mode {own}{reason}: it does not fit mode {mode}",
            dir.display()
        )))
    }

    /// Tokens at which an answer ends.
    pub fn stop_ids(&self, mode: Mode) -> Vec<u32> {
        let roles = [SpecialToken::User, SpecialToken::Observation];
        let roles: &[SpecialToken] = if mode.has_roles() { &roles } else { &[] };
        let others = roles.iter().filter_map(|&token| self.special(token));
        self.end_id(mode).into_iter().chain(others).collect()
    }

    fn roles_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let mut ids = self.opening()?;
        for message in messages {
            ids.extend(self.turn(message)?);
        }
        ids.push(self.require(SpecialToken::Assistant)?);
        Ok(ids)
    }

    /// `<|role|>metadata\ncontent`; the line break and the content are encoded apart.
    fn turn(&self, message: &Message) -> Result<Vec<u32>> {
        let mut ids = vec![self.require(message.role.token())?];
        ids.extend(self.encode(&format!("{}\n", message.metadata))?);
        ids.extend(self.encode(&message.content)?);
        Ok(ids)
    }
}

/// The special tokens of a mode's prompts and answers.
fn needed(mode: Mode) -> Vec<SpecialToken> {
    let roles = [SpecialToken::User, SpecialToken::Assistant];
    let roles: &[SpecialToken] = if mode.has_roles() { &roles } else { &[] };
    [&[SpecialToken::GMask, SpecialToken::Sop, end(mode)], roles].concat()
}

/// The token that ends an answer in training.
fn end(mode: Mode) -> SpecialToken {
    match mode {
        Mode::Glm => SpecialToken::Eop,
        Mode::Glm2 | Mode::Glm3 => SpecialToken::Eos,
        Mode::Glm4 => SpecialToken::EndOfText,
    }
}

/// The rounds of ChatGLM-6B and ChatGLM2, as text. A system message, which these families do not know,
/// stands before the first round.
fn rounds_text(mode: Mode, format: PromptFormat, messages: &[Message]) -> Result<String> {
    let (first, gap) = match (mode, format) {
        (Mode::Glm, PromptFormat::Published) => (0, "\n"),
        (Mode::Glm, PromptFormat::Training) => (1, "\n"),
        _ => (1, "\n\n"),
    };
    let mut text = String::new();
    let questions = messages
        .iter()
        .filter(|message| message.role == Role::User)
        .count();
    // The published ChatGLM-6B takes a first question as it is.
    let plain = mode == Mode::Glm && format == PromptFormat::Published && questions == 1;
    let mut round = first;
    for message in messages {
        let content = &message.content;
        match message.role {
            Role::System => text.push_str(&format!("{content}{gap}")),
            Role::User if plain => text.push_str(content),
            Role::User => {
                text.push_str(&format!("[Round {round}]{gap}问：{content}{gap}答："));
                round += 1;
            }
            Role::Assistant => text.push_str(&format!("{content}{gap}")),
            Role::Observation => {
                return Err(Error::Request(format!(
                    "mode {mode} has no observation role (tools came with ChatGLM3)"
                )));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn conversation() -> [Message; 3] {
        [
            Message::new(Role::User, "a"),
            Message::new(Role::Assistant, "b"),
            Message::new(Role::User, "c"),
        ]
    }

    #[test]
    fn rounds() {
        use PromptFormat::{Published, Training};
        let text = rounds_text(Mode::Glm, Published, &conversation()).unwrap();
        assert_eq!(text, "[Round 0]\n问：a\n答：b\n[Round 1]\n问：c\n答：");
        let text = rounds_text(Mode::Glm, Training, &conversation()).unwrap();
        assert_eq!(text, "[Round 1]\n问：a\n答：b\n[Round 2]\n问：c\n答：");
        let text = rounds_text(Mode::Glm2, Published, &conversation()).unwrap();
        assert_eq!(
            text,
            rounds_text(Mode::Glm2, Training, &conversation()).unwrap()
        );
        assert_eq!(
            text,
            "[Round 1]\n\n问：a\n\n答：b\n\n[Round 2]\n\n问：c\n\n答："
        );
        let text = rounds_text(Mode::Glm, Published, &conversation()[..1]).unwrap();
        assert_eq!(text, "a");
        let text = rounds_text(Mode::Glm, Training, &conversation()[..1]).unwrap();
        assert_eq!(text, "[Round 1]\n问：a\n答：");
    }

    #[test]
    fn tools_need_roles() {
        let messages = [Message::new(Role::Observation, "42")];
        assert!(rounds_text(Mode::Glm2, PromptFormat::Training, &messages).is_err());
    }
}

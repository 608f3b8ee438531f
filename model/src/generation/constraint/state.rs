//! The state of one answer.

use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::reason::reason;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::tokenizer::tools::Tool;
use crate::tokenizer::whitespace;

/// Bytes of the longest whitespace marker of ChatGLM-6B.
const LONGEST_MARKER: usize = 12;

/// Where an answer is.
#[derive(Debug)]
pub(super) enum Phase {
    /// So many tokens of the line break after `<|assistant|>` have come.
    Opening(usize),
    /// The grammar says what comes.
    Bound,
    /// Anything may come, until the first line is the name of a tool.
    Watching { tokens: Vec<u32>, line: Vec<u8> },
    /// Anything may come.
    Free,
    /// A stop token has come.
    Ended,
}

impl Phase {
    /// Before an answer whose text follows a grammar.
    pub(super) fn opening(vocabulary: &Vocabulary) -> Self {
        match vocabulary.line_break.is_empty() {
            true => Self::Bound,
            false => Self::Opening(0),
        }
    }

    /// Before an answer that may be a call.
    pub(super) fn watching() -> Self {
        Self::Watching {
            tokens: Vec::new(),
            line: Vec::new(),
        }
    }
}

/// The state of one answer.
pub struct Constraint {
    vocabulary: Arc<Vocabulary>,
    phase: Phase,
    grammar: Option<Matcher>,
    /// The tools that may be called after text.
    names: Vec<String>,
    /// The end of what the grammar has read: markers may begin there.
    tail: Vec<u8>,
    /// Whether the grammar has read nothing yet.
    is_at_start: bool,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = &self.phase;
        f.debug_struct("Constraint")
            .field("phase", phase)
            .finish_non_exhaustive()
    }
}

impl Constraint {
    pub(super) fn new(vocabulary: Arc<Vocabulary>, phase: Phase, grammar: Option<Matcher>) -> Self {
        Self {
            names: Vec::new(),
            vocabulary,
            phase,
            grammar,
            tail: Vec::new(),
            is_at_start: true,
        }
    }

    /// Text may go on with a call of one of these.
    pub(super) fn with_calls_of(mut self, tools: &[Tool]) -> Self {
        self.names = tools.iter().map(|tool| tool.name.clone()).collect();
        self
    }

    /// Sets the logits of tokens that may not come next to minus infinity. `logits`: \[vocabulary\]
    ///
    /// # Errors
    /// [`Error::Request`] if what the form asks for takes more work than is allowed, or cannot be written in this
    /// vocabulary; [`Error::Compute`] if there are not as many logits as tokens.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        if logits.len() != self.vocabulary.size {
            return Err(Error::Compute(format!(
                "{} logits for a vocabulary of {}",
                logits.len(),
                self.vocabulary.size
            )));
        }
        match self.phase {
            Phase::Watching { .. } | Phase::Free => Ok(()),
            Phase::Opening(come) => {
                let allowed = self.line_break_tokens(come);
                keep_only(logits, &allowed);
                Ok(())
            }
            Phase::Ended => {
                keep_only(logits, &self.vocabulary.stop_ids);
                Ok(())
            }
            Phase::Bound => self.mask_by_grammar(logits),
        }
    }

    /// Takes note of the token that was drawn, a stop token too.
    ///
    /// # Errors
    /// [`Error::Compute`] if it was not allowed.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        let is_stop = self.vocabulary.stop_ids.contains(&token);
        match &mut self.phase {
            Phase::Ended if is_stop => Ok(()),
            Phase::Ended => Err(not_allowed(token)),
            Phase::Opening(come) => {
                let come = *come;
                if !self.line_break_tokens(come).contains(&token) {
                    return Err(not_allowed(token));
                }
                let is_last = self.vocabulary.line_break.last() == Some(&token);
                self.phase = match is_last {
                    true => Phase::Bound,
                    false => Phase::Opening(come + 1),
                };
                Ok(())
            }
            Phase::Watching { .. } | Phase::Free if is_stop => {
                self.phase = Phase::Ended;
                Ok(())
            }
            Phase::Watching { .. } | Phase::Free => {
                // ChatGLM3 says what it is about to do, and then begins another turn with the call.
                if self.vocabulary.assistant == Some(token) && !self.names.is_empty() {
                    self.phase = Phase::watching();
                } else {
                    self.watch(token);
                }
                Ok(())
            }
            Phase::Bound => {
                self.advance(token, is_stop)?;
                if is_stop {
                    self.phase = Phase::Ended;
                }
                Ok(())
            }
        }
    }

    /// Whether nothing but a stop token can follow.
    pub fn is_complete(&self) -> bool {
        match self.phase {
            Phase::Ended => true,
            Phase::Bound => self.grammar.as_ref().is_some_and(Matcher::is_stopped),
            _ => false,
        }
    }

    /// The tokens that may come after so many of the line break. [`Tokenizer::decode_answer`](crate::tokenizer::Tokenizer::decode_answer) takes the
    /// whole of it or its last token alone.
    fn line_break_tokens(&self, come: usize) -> Vec<u32> {
        let line_break = &self.vocabulary.line_break;
        let next = line_break.get(come).copied();
        let last = line_break.last().copied().filter(|_| come == 0);
        next.into_iter().chain(last).collect()
    }

    fn mask_by_grammar(&mut self, logits: &mut [f32]) -> Result<()> {
        let Some(grammar) = &mut self.grammar else {
            return Ok(());
        };
        let mut allowed = grammar
            .compute_mask_or_eos()
            .map_err(|error| stuck(&error.to_string()))?;
        if self.is_at_start {
            for &id in &self.vocabulary.kept_spaces {
                allowed.disallow_token(id);
            }
        }
        self.forbid_markers(&mut allowed);
        if allowed.is_zero() {
            let detail = "what the answer must be cannot be written in this model's vocabulary";
            return Err(Error::Request(detail.to_string()));
        }
        allowed.iter_unset_entries(|id| {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    /// A text cannot hold ChatGLM-6B's markers: they would be decoded as whitespace.
    fn forbid_markers(&self, allowed: &mut SimpleVob) {
        if !self.tail.contains(&b'<') {
            return;
        }
        for &id in &self.vocabulary.marker_ends {
            let bytes = &self.vocabulary.bytes[id as usize];
            if whitespace::completes_marker(&self.tail, bytes) {
                allowed.disallow_token(id);
            }
        }
    }

    /// Goes on by a token in the grammar.
    fn advance(&mut self, token: u32, is_stop: bool) -> Result<()> {
        let Some(grammar) = &mut self.grammar else {
            return Ok(());
        };
        // Complete: the engine takes no more tokens, also no stop token.
        if grammar.is_stopped() && !grammar.is_error() {
            return match is_stop {
                true => Ok(()),
                false => Err(not_allowed(token)),
            };
        }
        let taken = grammar.consume_token(token);
        taken.map_err(|_| not_allowed(token))?;
        if !is_stop {
            self.is_at_start = false;
            let bytes = self.vocabulary.bytes.get(token as usize);
            self.tail.extend(bytes.into_iter().flatten());
            let length = self.tail.len();
            self.tail.drain(..length.saturating_sub(LONGEST_MARKER));
        }
        Ok(())
    }

    /// Looks whether the first line is a tool's name; if so, what follows is bound by the grammar of its calls.
    fn watch(&mut self, token: u32) {
        let Phase::Watching { tokens, line } = &mut self.phase else {
            return;
        };
        let bytes = self.vocabulary.bytes.get(token as usize);
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            self.phase = Phase::Free;
            return;
        };
        tokens.push(token);
        line.extend(bytes);
        let begun = match self.vocabulary.drops_first_space {
            true => line.strip_prefix(b" ").unwrap_or(line),
            false => line.as_slice(),
        };
        let end = begun.iter().position(|&byte| byte == b'\n');
        let line = &begun[..end.unwrap_or(begun.len())];
        let is_name = self.names.iter().any(|name| name.as_bytes() == line);
        let may_be_name = self
            .names
            .iter()
            .any(|name| name.as_bytes().starts_with(line));
        match end {
            Some(_) if is_name => {
                let tokens = std::mem::take(tokens);
                self.phase = Phase::Bound;
                let taken = tokens
                    .iter()
                    .try_for_each(|&token| self.advance(token, false));
                // The grammar is of no use any more.
                if taken.is_err() {
                    self.names.clear();
                    self.phase = Phase::Free;
                }
            }
            None if may_be_name => {}
            _ => self.phase = Phase::Free,
        }
    }
}

fn keep_only(logits: &mut [f32], allowed: &[u32]) {
    for (id, logit) in (0..).zip(logits) {
        if !allowed.contains(&id) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn stuck(error: &str) -> Error {
    let detail = reason(error);
    Error::Request(format!("an answer of this form cannot go on: {detail}"))
}

fn not_allowed(token: u32) -> Error {
    Error::Compute(format!(
        "token {token} may not come next in an answer of this form"
    ))
}

//! A tokenizer as the grammar engine sees it: the bytes of each token.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use crate::error::{Error, Result};
use crate::tokenizer::{Mode, SpecialToken, Tokenizer};

/// Bytes of the longest token that is used; the engine's trie is no deeper. GLM-4 has one of 512 spaces.
const TOKEN_BYTES: usize = 1000;

/// What constraints need to know of a vocabulary.
pub(super) struct Vocabulary {
    /// Logits of a step.
    pub(super) size: usize,
    pub(super) mode: Mode,
    pub(super) stop_ids: Vec<u32>,
    /// The tokens with which a text begins after `<|assistant|>`; empty in families without roles.
    pub(super) line_break: Vec<u32>,
    /// The token that begins another turn of the model's own.
    pub(super) assistant: Option<u32>,
    /// Bytes by id; empty for tokens that no text has.
    pub(super) bytes: Vec<Vec<u8>>,
    /// Whether decoding drops a space at a text's beginning.
    pub(super) drops_first_space: bool,
    /// Tokens whose space it keeps all the same.
    pub(super) kept_spaces: Vec<u32>,
    /// Tokens that may end a whitespace marker of ChatGLM-6B.
    pub(super) marker_ends: Vec<u32>,
}

impl Vocabulary {
    /// # Errors
    /// [`Error::Request`] if there is no stop token among the `size` ids; what the tokenizer says otherwise.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        mode: Mode,
        size: usize,
        stop_ids: &[u32],
    ) -> Result<Self> {
        let mut stop_ids = stop_ids.to_vec();
        stop_ids.retain(|&id| (id as usize) < size);
        if stop_ids.is_empty() {
            let detail =
                "no token of the vocabulary ends an answer: expected one stop token at least";
            return Err(Error::Request(detail.to_string()));
        }
        let mut bytes: Vec<Vec<u8>> = (0..size as u32)
            .map(|id| tokenizer.token_bytes(id).unwrap_or_default())
            .collect();
        // 0xff is in no text; the engine writes special tokens with it.
        for token in &mut bytes {
            if token.len() > TOKEN_BYTES || token.first() == Some(&0xff) {
                token.clear();
            }
        }
        for &id in &stop_ids {
            bytes[id as usize].clear();
        }
        let line_break = match mode.has_roles() {
            true => tokenizer.encode("\n")?,
            false => Vec::new(),
        };
        let (dropped, kept) = first_spaces(tokenizer, &bytes);
        let marker_ends = match tokenizer.marks_whitespace() {
            true => ids_where(&bytes, |token| token.contains(&b'>')),
            false => Vec::new(),
        };
        Ok(Self {
            size,
            mode,
            stop_ids,
            line_break,
            assistant: tokenizer.special(SpecialToken::Assistant),
            drops_first_space: dropped,
            kept_spaces: kept,
            marker_ends,
            bytes,
        })
    }

    /// The engine's view of it.
    pub(super) fn engine_view(&self) -> TokEnv {
        let info = TokRxInfo::new(self.size as u32, self.stop_ids[0]);
        let trie = TokTrie::from(&info, &self.bytes).with_eos_tokens(&self.stop_ids);
        Arc::new(ApproximateTokEnv::new(trie))
    }
}

fn ids_where(bytes: &[Vec<u8>], holds: impl Fn(&[u8]) -> bool) -> Vec<u32> {
    let ids = (0..).zip(bytes).filter(|(_, token)| holds(token));
    ids.map(|(id, _)| id).collect()
}

/// Whether some token loses its space at a text's beginning, and the tokens that keep theirs where others lose it.
fn first_spaces(tokenizer: &Tokenizer, bytes: &[Vec<u8>]) -> (bool, Vec<u32>) {
    let spaced = ids_where(bytes, |token| token.first() == Some(&b' '));
    let (kept, dropped): (Vec<u32>, Vec<u32>) = spaced.into_iter().partition(|&id| {
        let within = String::from_utf8_lossy(&bytes[id as usize]);
        tokenizer.decode(&[id]).len() >= within.len()
    });
    match dropped.is_empty() {
        true => (false, Vec::new()),
        false => (true, kept),
    }
}

//! What a token is called where answers tell of single tokens.

use glmtune_model::tokenizer::{SpecialToken, Tokenizer};

/// A token as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenText {
    /// Its text; `bytes:\xe5\xa5` for a part of a character.
    pub text: String,
    /// Its bytes; a special token has those of its name.
    pub bytes: Vec<u8>,
}

/// What a token adds to a text.
pub fn token_text(tokenizer: &Tokenizer, token: u32) -> TokenText {
    let bytes = special_name(tokenizer, token)
        .map(|name| name.as_bytes().to_vec())
        .or_else(|| tokenizer.token_bytes(token))
        .unwrap_or_default();
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_string(),
        Err(_) => escaped(&bytes),
    };
    TokenText { text, bytes }
}

fn escaped(bytes: &[u8]) -> String {
    let bytes = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
    format!("bytes:{}", bytes.collect::<String>())
}

fn special_name(tokenizer: &Tokenizer, token: u32) -> Option<&'static str> {
    let is_it = |special: &SpecialToken| tokenizer.special(*special) == Some(token);
    let special = SpecialToken::ALL.into_iter().find(is_it)?;
    special.names().first().copied()
}

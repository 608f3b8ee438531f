//! A plain `tokenizer.json`, run by the `tokenizers` crate as it stands.

use std::path::Path;

use super::mode::Mode;
use super::settings::Settings;
use super::special::{SpecialToken, Specials};
use super::{Engine, Tokenizer, pad_id};
use crate::error::{Error, Result};

/// Reads `tokenizer.json`.
pub(super) fn load(path: &Path, bytes: &[u8], settings: &Settings) -> Result<Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|error| Error::malformed(path, error.to_string()))?;
    // Text never becomes a special token.
    tokenizer.set_encode_special_tokens(true);
    let added = tokenizer.get_added_tokens_decoder();
    let mut specials: Specials = added
        .iter()
        .filter(|(_, token)| token.special)
        .map(|(id, token)| (token.content.clone(), *id))
        .collect();
    // Some files have the family's tokens in the vocabulary only.
    let missing = SpecialToken::ALL
        .into_iter()
        .filter(|&token| specials.get(token).is_none());
    let found: Vec<(String, u32)> = missing
        .flat_map(SpecialToken::names)
        .filter_map(|name| Some((name.to_string(), tokenizer.token_to_id(name)?)))
        .collect();
    specials.extend(found);
    Ok(Tokenizer {
        engine: Engine::Json(Box::new(tokenizer)),
        pad_id: pad_id(&specials, settings),
        mode: mode(&specials, settings),
        specials,
    })
}

/// The family, told by the special tokens.
fn mode(specials: &Specials, settings: &Settings) -> Mode {
    let has = |token| specials.get(token).is_some();
    let roles = has(SpecialToken::User) || settings.has_roles();
    match (roles, has(SpecialToken::EndOfText)) {
        (true, true) => Mode::Glm4,
        (true, false) => Mode::Glm3,
        (false, _) if specials.by_name("<eop>").is_some() => Mode::Glm,
        (false, _) => Mode::Glm2,
    }
}

/// One more than the highest id.
pub(super) fn vocab_size(tokenizer: &tokenizers::Tokenizer) -> usize {
    let highest = tokenizer.get_vocab(true).into_values().max();
    highest.map_or(0, |id| id as usize + 1)
}

//! The tokens that a `tokenizer.json` adds to its model's.

use std::collections::HashSet;
use std::path::Path;

use tokenizers::{AddedToken, NormalizedString, Normalizer};

use super::file::AddedFile;
use super::normalizer::Normalization;
use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::tokenizer::limits;
use crate::tokenizer::shown::shown;

/// Adds the tokens, which must get the ids that the file gives them.
///
/// # Errors
/// [`Error::Key`] naming the token.
pub(super) fn add(
    path: &Path,
    pipeline: &mut Pipeline,
    normalization: &Normalization,
    tokens: Vec<AddedFile>,
) -> Result<()> {
    let fault = |index: usize, key: &str, found: String, expected: String| {
        Error::key(
            path,
            format!("added_tokens[{index}].{key}"),
            found,
            expected,
        )
    };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for (index, token) in tokens.iter().enumerate() {
        let length = token.content.len();
        if !(1..=limits::TOKEN_BYTES).contains(&length) {
            let expected = format!("1 to {} bytes", limits::TOKEN_BYTES);
            return Err(fault(index, "content", format!("{length} bytes"), expected));
        }
        if !seen.insert(&token.content) {
            let found = format!("`{}` again", shown(&token.content));
            return Err(fault(index, "content", found, "a token once".to_string()));
        }
        let searched = searched(token, normalization);
        bytes += searched;
        if searched == 0 {
            let found = format!("`{}`", shown(&token.content));
            let expected = "a token of which the normalizer leaves something";
            return Err(fault(index, "content", found, expected.to_string()));
        }
        if bytes > limits::ADDED_BYTES {
            let expected = format!("at most {} bytes in all", limits::ADDED_BYTES);
            return Err(fault(index, "content", format!("{bytes} bytes"), expected));
        }
    }
    // The crate gives ids in the order in which tokens come.
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|&index| tokens[index].id);
    let added: Vec<AddedToken> = order.iter().map(|&index| token(&tokens[index])).collect();
    pipeline.add_tokens(&added);
    for index in order {
        let given = pipeline.token_to_id(&tokens[index].content);
        if given != Some(tokens[index].id) {
            let expected = match given {
                Some(id) => format!("{id}, the next id of this vocabulary"),
                None => "a token that can be added".to_string(),
            };
            return Err(fault(index, "id", tokens[index].id.to_string(), expected));
        }
    }
    Ok(())
}

/// Bytes that texts are searched for.
fn searched(token: &AddedFile, normalization: &Normalization) -> usize {
    if !is_normalized(token) {
        return token.content.len();
    }
    let mut content = NormalizedString::from(token.content.as_str());
    // A refusal is taken when the file has been read.
    let _ = normalization.normalize(&mut content);
    content.len()
}

fn is_normalized(token: &AddedFile) -> bool {
    token.normalized.unwrap_or(!token.special)
}

fn token(token: &AddedFile) -> AddedToken {
    AddedToken::from(token.content.clone(), token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(is_normalized(token))
}

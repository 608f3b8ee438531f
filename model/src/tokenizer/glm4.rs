//! GLM-4's tokenizer: tiktoken ranks in base64, one per line; special tokens from
//! `tokenizer_config.json`.

use std::path::Path;
use std::sync::Arc;

use super::limits;
use super::loaded::Loaded;
use super::mode::Mode;
use super::published::Published;
use super::ranked_bpe::RankedBpe;
use super::settings::Settings;
use super::shown::shown;
use super::special::Specials;
use super::vocabulary::{Kind, Token, Vocabulary};
use super::words::Words;
use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Special tokens of the published models, in the order of their ids, where the settings list none.
const SPECIALS: [&str; 14] = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
];

/// Whether a `tokenizer.model` is a list of ranks: its first line is base64, a space and a number.
pub(super) fn is_ranks(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let text = std::str::from_utf8(line.get(..200).unwrap_or(line)).ok();
    let parts = text.and_then(|text| text.trim_end().split_once(' '));
    parts.is_some_and(|(token, rank)| {
        let digits = rank.bytes().all(|byte| byte.is_ascii_digit());
        !token.is_empty() && !rank.is_empty() && digits && STANDARD.decode(token).is_ok()
    })
}

/// Reads a `tokenizer.model` of ranks.
pub(super) fn load(path: &Path, bytes: &[u8], settings: &Settings) -> Result<Loaded<Published>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::malformed(path, format!("not UTF-8: {error}")))?;
    let mut tokens = read_ranks(path, text)?;
    let ranks = tokens.len();
    add_specials(&mut tokens, settings)?;
    let vocabulary = Vocabulary { tokens, shift: 0 };
    let specials: Specials = vocabulary.specials().collect();

    let ranks = RankedBpe::from_ranks(Arc::new(vocabulary), ranks);
    Ok(Loaded {
        engine: Published::of_ranks(ranks, Words::new()?),
        specials,
        mode: Mode::Glm4,
    })
}

/// The tokens by rank; ranks must be complete and include every single byte.
fn read_ranks(path: &Path, text: &str) -> Result<Vec<Token>> {
    let mut tokens: Vec<Option<Token>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let lines: Vec<&str> = text.lines().take(limits::TOKENS + 1).collect();
    if lines.len() > limits::TOKENS {
        let detail = format!("more than {} lines of ranks", limits::TOKENS);
        return Err(Error::malformed(path, detail));
    }
    for (number, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let at_line =
            |detail: &str| Error::malformed(path, format!("line {}: {detail}", number + 1));
        let (token, rank) = line
            .split_once(' ')
            .ok_or_else(|| at_line("expected a token in base64, a space and its rank"))?;
        let token = STANDARD
            .decode(token)
            .map_err(|error| at_line(&format!("the token is not base64: {error}")))?;
        let rank: usize = rank
            .trim()
            .parse()
            .map_err(|_| at_line(&format!("the rank `{}` is not a number", shown(rank))))?;
        // No rank can be higher than the number of lines: nothing is allocated by a rank's word.
        if rank >= lines.len() {
            return Err(at_line(&format!(
                "rank {rank} leaves ranks below it unused"
            )));
        }
        if token.len() > limits::TOKEN_BYTES {
            let length = token.len();
            return Err(at_line(&format!(
                "the token has {length} bytes, and at most {} can be used",
                limits::TOKEN_BYTES
            )));
        }
        if token.is_empty() || !seen.insert(token.clone()) {
            return Err(at_line("the token is empty or was there before"));
        }
        if tokens.len() <= rank {
            tokens.resize(rank + 1, None);
        }
        if tokens[rank]
            .replace(Token::new(token, Kind::Normal))
            .is_some()
        {
            return Err(at_line(&format!("rank {rank} was there before")));
        }
    }
    if let Some(byte) = (0..=u8::MAX).find(|&byte| !seen.contains(&[byte][..])) {
        return Err(Error::malformed(
            path,
            format!("the byte 0x{byte:02x} has no rank"),
        ));
    }
    let count = tokens.len();
    let tokens: Option<Vec<Token>> = tokens.into_iter().collect();
    tokens.ok_or_else(|| Error::malformed(path, format!("a rank below {count} is missing")))
}

fn add_specials(tokens: &mut Vec<Token>, settings: &Settings) -> Result<()> {
    let ranks = tokens.len();
    if settings.added_tokens_decoder.is_empty() {
        tokens.extend(SPECIALS.map(|name| Token::new(name, Kind::Hidden)));
        return Ok(());
    }
    // A gap before the first one means that the file of ranks was cut short.
    if !settings
        .added_tokens_decoder
        .contains_key(&ranks.to_string())
    {
        let found = format!("no id {ranks}");
        let expected =
            "special tokens from the id after the last rank on (is tokenizer.model complete?)";
        return Err(Error::key(
            &settings.path,
            "added_tokens_decoder",
            found,
            expected,
        ));
    }
    let mut names = std::collections::HashSet::new();
    for (id, token) in &settings.added_tokens_decoder {
        let key = format!("added_tokens_decoder.{}", shown(id));
        let fault =
            |found: String, expected: &str| Error::key(&settings.path, &key, found, expected);
        let expected = "an id after the ranks, the tokens' numbers";
        let id: usize = id
            .parse()
            .ok()
            .filter(|id| (ranks..ranks + limits::ADDED_TOKENS).contains(id))
            .ok_or_else(|| fault(shown(id), expected))?;
        let name = &token.content.0;
        if !(1..=limits::TOKEN_BYTES).contains(&name.len()) || !names.insert(name) {
            let found = format!("`{}`", shown(name));
            return Err(fault(found, "a token's name that no other has"));
        }
        while tokens.len() <= id {
            tokens.push(Token::new("", Kind::Hidden));
        }
        if !tokens[id].bytes.is_empty() {
            return Err(fault("the id again".to_string(), "an id for each token"));
        }
        tokens[id] = Token::new(name.as_str(), Kind::Hidden);
    }
    Ok(())
}

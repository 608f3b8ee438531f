//! ChatGLM-6B's tokenizer: a SentencePiece unigram model with markers for whitespace.

use std::path::Path;
use std::sync::Arc;

use super::limits;
use super::loaded::Loaded;
use super::mode::Mode;
use super::published::{Published, Subwords};
use super::sentencepiece::{Algorithm, SentencePiece};
use super::settings::Settings;
use super::special::Specials;
use super::unigram::Unigram;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};

/// Image tokens that stand before the text's where the settings do not say: those of the first release.
const IMAGE_TOKENS: u32 = 20_000;
/// Special tokens that the model file holds as ordinary pieces.
const SPECIALS: [&str; 5] = ["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"];

/// Reads `ice_text.model`.
pub(super) fn load(path: &Path, bytes: &[u8], settings: &Settings) -> Result<Loaded<Published>> {
    let model = SentencePiece::parse(path, bytes)?;
    if model.algorithm != Algorithm::Unigram {
        return Err(Error::malformed(path, "not a unigram model"));
    }
    let shift = settings.num_image_tokens.unwrap_or(IMAGE_TOKENS);
    if shift > limits::IMAGE_TOKENS {
        let expected = format!("at most {} ids before the text's", limits::IMAGE_TOKENS);
        return Err(Error::key(
            &settings.path,
            "num_image_tokens",
            shift,
            expected,
        ));
    }
    let vocabulary = Vocabulary {
        tokens: model.pieces.clone(),
        shift,
    };
    let ordinary = vocabulary
        .ids()
        .filter(|(name, _)| SPECIALS.contains(&name.as_str()));
    let specials: Specials = vocabulary.specials().chain(ordinary).collect();

    let subwords = Subwords::Unigram(Unigram::new(&model, Arc::new(vocabulary)));
    let engine = Published::of_pieces(&model, subwords, true)
        .map_err(|detail| Error::malformed(path, detail))?;
    Ok(Loaded {
        engine,
        specials,
        mode: Mode::Glm,
    })
}

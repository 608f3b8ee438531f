//! ChatGLM2's and ChatGLM3's tokenizer: a SentencePiece BPE model, special tokens after its pieces.

use std::path::Path;
use std::sync::Arc;

use super::loaded::Loaded;
use super::mode::Mode;
use super::published::{Published, Subwords};
use super::ranked_bpe::RankedBpe;
use super::sentencepiece::{Algorithm, SentencePiece};
use super::settings::Settings;
use super::special::Specials;
use super::vocabulary::{Kind, Token, Vocabulary};
use crate::error::{Error, Result};

/// After the pieces of the model file, in both families.
const SPECIALS: [&str; 5] = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"];
/// After those, in ChatGLM3.
const ROLES: [&str; 4] = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"];

/// Reads a SentencePiece `tokenizer.model`.
pub(super) fn load(
    path: &Path,
    bytes: &[u8],
    mode: Option<Mode>,
    settings: &Settings,
) -> Result<Loaded<Published>> {
    let model = SentencePiece::parse(path, bytes)?;
    if model.algorithm != Algorithm::Bpe {
        return Err(Error::malformed(path, "not a BPE model"));
    }
    let by_settings = match settings.has_roles() {
        true => Mode::Glm3,
        false => Mode::Glm2,
    };
    let given = mode.filter(|mode| matches!(mode, Mode::Glm2 | Mode::Glm3));
    let mode = given.unwrap_or(by_settings);
    let roles: &[&str] = if mode == Mode::Glm3 { &ROLES } else { &[] };
    let added = SPECIALS
        .iter()
        .chain(roles)
        .map(|name| Token::new(*name, Kind::Hidden));
    let vocabulary = Vocabulary {
        tokens: model.pieces.iter().cloned().chain(added).collect(),
        shift: 0,
    };
    let specials: Specials = vocabulary.specials().collect();

    let subwords = Subwords::Bpe(RankedBpe::from_scores(&model, Arc::new(vocabulary)));
    let engine = Published::of_pieces(&model, subwords, false)
        .map_err(|detail| Error::malformed(path, detail))?;
    Ok(Loaded {
        engine,
        specials,
        mode,
    })
}

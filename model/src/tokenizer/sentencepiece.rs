//! SentencePiece's model files: the fields that encoding and decoding need.

use std::collections::HashSet;
use std::path::Path;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::limits;
use super::shown::shown;
use super::vocabulary::{Kind, Token};
use crate::error::{Error, Result};

/// The messages of `sentencepiece_model.proto`, without the fields of training.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Model {
        #[prost(message, repeated, tag = "1")]
        pub(super) pieces: Vec<Piece>,
        #[prost(message, optional, tag = "2")]
        pub(super) trainer: Option<Trainer>,
        #[prost(message, optional, tag = "3")]
        pub(super) normalizer: Option<Normalizer>,
        #[prost(message, optional, tag = "5")]
        pub(super) denormalizer: Option<Normalizer>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Piece {
        #[prost(string, tag = "1")]
        pub(super) text: String,
        #[prost(float, tag = "2")]
        pub(super) score: f32,
        #[prost(int32, optional, tag = "3", default = "1")]
        pub(super) kind: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Trainer {
        #[prost(int32, optional, tag = "3", default = "1")]
        pub(super) model_type: Option<i32>,
        #[prost(bool, tag = "24")]
        pub(super) whitespace_as_suffix: bool,
        #[prost(bool, tag = "35")]
        pub(super) byte_fallback: bool,
        #[prost(string, optional, tag = "44", default = " \u{2047} ")]
        pub(super) unknown_surface: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Normalizer {
        #[prost(bytes = "vec", tag = "2")]
        pub(super) charsmap: Vec<u8>,
        #[prost(bool, optional, tag = "3", default = "true")]
        pub(super) add_dummy_prefix: Option<bool>,
        #[prost(bool, optional, tag = "4", default = "true")]
        pub(super) remove_extra_whitespaces: Option<bool>,
        #[prost(bool, optional, tag = "5", default = "true")]
        pub(super) escape_whitespaces: Option<bool>,
    }
}

/// How a model splits text into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
}

/// A checked model file.
#[derive(Debug, Clone)]
pub(super) struct SentencePiece {
    pub(super) algorithm: Algorithm,
    pub(super) pieces: Vec<Token>,
    pub(super) scores: Vec<f32>,
    pub(super) unknown: u32,
    /// The piece of each byte, where characters outside the vocabulary are spelled by bytes.
    pub(super) byte_pieces: Option<Box<[u32; 256]>>,
    pub(super) unknown_surface: String,
    pub(super) charsmap: Vec<u8>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
}

impl SentencePiece {
    /// Reads the model in `bytes`; `path` is for errors.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when the bytes are not such a model or use what glmtune does not know.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let malformed = |detail: String| Error::malformed(path, detail);
        let no_model = |error| malformed(format!("not a SentencePiece model: {error}"));
        if count_pieces(bytes).map_err(no_model)? > limits::TOKENS {
            return Err(malformed(format!(
                "a vocabulary of more than {} pieces",
                limits::TOKENS
            )));
        }
        let model = proto::Model::decode(bytes).map_err(no_model)?;
        let trainer = model.trainer.unwrap_or_default();
        let normalizer = model.normalizer.unwrap_or_default();
        let algorithm = match trainer.model_type() {
            1 => Algorithm::Unigram,
            2 => Algorithm::Bpe,
            other => {
                return Err(malformed(format!(
                    "SentencePiece model type {other}: only unigram (1) and BPE (2) are known"
                )));
            }
        };
        if trainer.whitespace_as_suffix {
            return Err(malformed(
                "treat_whitespace_as_suffix is not supported".into(),
            ));
        }
        if model
            .denormalizer
            .is_some_and(|rules| !rules.charsmap.is_empty())
        {
            return Err(malformed("denormalization rules are not supported".into()));
        }
        if trainer.unknown_surface().len() > limits::UNKNOWN_SURFACE {
            return Err(malformed(format!(
                "the unknown piece is written as more than {} bytes",
                limits::UNKNOWN_SURFACE
            )));
        }
        let (pieces, scores) = read_pieces(&model.pieces).map_err(malformed)?;
        let unknown = pieces.iter().position(|piece| piece.kind == Kind::Unknown);
        let unknown = unknown.ok_or_else(|| malformed("there is no unknown piece".into()))? as u32;
        let byte_pieces = if trainer.byte_fallback {
            Some(byte_pieces(&pieces).map_err(malformed)?)
        } else {
            None
        };
        Ok(Self {
            algorithm,
            unknown,
            byte_pieces,
            unknown_surface: trainer.unknown_surface().to_owned(),
            add_dummy_prefix: normalizer.add_dummy_prefix(),
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces(),
            escape_whitespaces: normalizer.escape_whitespaces(),
            charsmap: normalizer.charsmap,
            pieces,
            scores,
        })
    }

    /// Pieces of one kind with their ids.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&[u8], u32)> {
        let pieces = self.pieces.iter().zip(0..);
        pieces
            .filter(move |(piece, _)| piece.kind == kind)
            .map(|(piece, id)| (&*piece.bytes, id))
    }
}

/// How many pieces a file has: one takes two bytes there and many more in memory.
fn count_pieces(mut bytes: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        count += usize::from(tag == 1);
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
    }
    Ok(count)
}

fn read_pieces(pieces: &[proto::Piece]) -> Result<(Vec<Token>, Vec<f32>), String> {
    let mut seen = HashSet::with_capacity(pieces.len());
    let mut tokens = Vec::with_capacity(pieces.len());
    for (id, piece) in pieces.iter().enumerate() {
        let name = shown(&piece.text);
        if !(1..=limits::TOKEN_BYTES).contains(&piece.text.len()) {
            let length = piece.text.len();
            return Err(format!(
                "piece {id} has {length} bytes, and 1 to {} can be used",
                limits::TOKEN_BYTES
            ));
        }
        if !seen.insert(&piece.text) {
            return Err(format!("piece {id} `{name}` is there twice"));
        }
        if !piece.score.is_finite() {
            return Err(format!("piece {id} `{name}` has the score {}", piece.score));
        }
        let kind =
            match piece.kind() {
                1 => Kind::Normal,
                2 => Kind::Unknown,
                3 => Kind::Hidden,
                4 => Kind::UserDefined,
                5 => Kind::Unused,
                6 => Kind::Byte(byte_of(&piece.text).ok_or_else(|| {
                    format!("piece {id} `{name}` is not a byte of the form <0x41>")
                })?),
                other => {
                    return Err(format!("piece {id} `{name}` has the unknown type {other}"));
                }
            };
        tokens.push(Token::new(piece.text.as_str(), kind));
    }
    if tokens
        .iter()
        .filter(|token| token.kind == Kind::Unknown)
        .count()
        > 1
    {
        return Err("there is more than one unknown piece".into());
    }
    Ok((tokens, pieces.iter().map(|piece| piece.score).collect()))
}

/// The byte that `<0x41>` names.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_canonical = digits.len() == 2 && !digits.contains(['+', '-']);
    u8::from_str_radix(digits, 16).ok().filter(|_| is_canonical)
}

fn byte_pieces(pieces: &[Token]) -> Result<Box<[u32; 256]>, String> {
    let mut ids = [None; 256];
    for (piece, id) in pieces.iter().zip(0_u32..) {
        if let Kind::Byte(byte) = piece.kind {
            ids[usize::from(byte)] = Some(id);
        }
    }
    if let Some(byte) = ids.iter().position(Option::is_none) {
        return Err(format!(
            "byte fallback is on, but the piece <0x{byte:02X}> is missing"
        ));
    }
    Ok(Box::new(ids.map(Option::unwrap_or_default)))
}

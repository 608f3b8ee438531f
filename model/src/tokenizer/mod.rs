//! The four families' tokenizers, from the published files themselves or from a plain
//! `tokenizer.json`: text to ids, ids to text (also as they come), prompts.
//!
//! Text never becomes a special token: `[gMASK]` or `<|user|>` in a text is plain text. Special tokens
//! come from [`Tokenizer::special`] and stand where [`prompt`] and the row layouts put them.

mod charsmap;
mod chatglm;
mod chatglm2;
mod decode;
mod engine;
mod files;
mod fit;
mod glm4;
mod json;
mod limits;
mod mode;
mod normalizer;
mod pattern;
pub mod prompt;
mod ranked_bpe;
mod sentencepiece;
mod settings;
mod shown;
mod small;
mod special;
mod trie;
mod unigram;
mod vocabulary;
mod whitespace;
mod words;

use std::path::{Path, PathBuf};

pub use decode::DecodeStream;
pub use files::{copy_tokenizer_files, tokenizer_files};
pub use mode::Mode;
pub use prompt::{ChatPrompt, Message, PromptFormat, Role};
pub use small::small_tokenizer;
pub use special::SpecialToken;

use self::decode::{Assembler, Spelling};
use self::engine::Pipeline;
use self::json::JsonEngine;
use self::settings::Settings;
use self::special::Specials;
use crate::error::{Error, Result};

/// A tokenizer of one of the families.
#[derive(Debug)]
pub struct Tokenizer {
    engine: Engine,
    specials: Specials,
    mode: Mode,
    pad_id: u32,
    /// The file that it was read from.
    path: PathBuf,
}

/// What turns text into ids and back.
#[derive(Debug)]
enum Engine {
    /// From a published file.
    Published {
        pipeline: Box<Pipeline>,
        spelling: Spelling,
    },
    /// From a `tokenizer.json`.
    Json(Box<JsonEngine>),
}

impl Tokenizer {
    /// Reads the tokenizer of a model directory: `ice_text.model`, `tokenizer.model` (SentencePiece or
    /// tiktoken ranks) or, where neither is there, `tokenizer.json`. ChatGLM2 and ChatGLM3 have the same
    /// file; `mode`, where it is given, decides between them, else `tokenizer_config.json` does.
    ///
    /// # Errors
    /// [`Error::Directory`] if the directory holds none of them; [`Error::Malformed`], [`Error::Json`] or
    /// [`Error::Key`] if a file is broken or asks for what glmtune does not do.
    pub fn from_dir(dir: &Path, mode: Option<Mode>) -> Result<Self> {
        Self::find(dir, mode)?.ok_or_else(|| {
            Error::directory(
                dir,
                "no tokenizer here: looked for `ice_text.model`, `tokenizer.model` and `tokenizer.json`",
            )
        })
    }

    /// As [`from_dir`](Self::from_dir); `None` if the directory holds no tokenizer.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir), but for the missing tokenizer.
    pub fn find(dir: &Path, mode: Option<Mode>) -> Result<Option<Self>> {
        let settings = Settings::read(dir)?;
        files::present(dir)
            .map(|(path, kind)| files::load(&path, kind, mode, &settings))
            .transpose()
    }

    /// The ids of a text, without special tokens.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Key`] if a `tokenizer.json` cannot express the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &self.engine {
            Engine::Published { pipeline, .. } => {
                let encoding = pipeline.encode_fast(text, false);
                let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            Engine::Json(engine) => engine.encode(text),
        }
    }

    /// The text of some ids; special tokens and ids outside the vocabulary add nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.engine {
            Engine::Published { pipeline, spelling } => {
                let mut assembler = Assembler::new(pipeline.get_model().vocabulary(), spelling);
                ids.iter().for_each(|&id| assembler.push(id));
                assembler.finish()
            }
            Engine::Json(engine) => engine.decode(ids),
        }
    }

    /// Text of ids that come one at a time.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The family.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        match &self.engine {
            Engine::Published { pipeline, .. } => pipeline.get_model().vocabulary().size(),
            Engine::Json(engine) => engine.size(),
        }
    }

    /// The id of a special token, if this tokenizer has it.
    pub fn special(&self, token: SpecialToken) -> Option<u32> {
        self.specials.get(token)
    }

    /// The id of a special token that must be there.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the token and the tokenizer's file.
    pub fn require(&self, token: SpecialToken) -> Result<u32> {
        self.special(token).ok_or_else(|| {
            let detail = format!(
                "the vocabulary has no {} token, which this mode's prompts need",
                token.names()[0]
            );
            Error::malformed(&self.path, detail)
        })
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id that pads a batch.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }
}

/// The padding token: the one that the settings name, else the family's custom.
fn pad_id(specials: &Specials, settings: &Settings) -> u32 {
    let named = settings.pad_token().filter(|name| !name.is_empty());
    let named = named.and_then(|name| specials.by_name(name));
    let customary = [
        SpecialToken::Pad,
        SpecialToken::Unk,
        SpecialToken::EndOfText,
    ];
    named
        .or_else(|| customary.into_iter().find_map(|token| specials.get(token)))
        .unwrap_or(0)
}

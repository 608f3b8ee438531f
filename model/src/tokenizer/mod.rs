//! The four families' tokenizers, from the published files themselves or from a plain
//! `tokenizer.json`: text to ids, ids to text (also as they come), prompts.
//!
//! Text never becomes a special token: `[gMASK]` or `<|user|>` in a text is plain text. Special tokens
//! come from [`Tokenizer::special`] and stand where [`prompt`] and the row layouts put them.

mod answer_stream;
mod byte_level;
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
mod loaded;
mod mode;
mod normalizer;
mod pattern;
pub mod prompt;
mod published;
mod ranked_bpe;
mod sentencepiece;
mod settings;
mod shown;
pub(crate) mod small;
mod special;
mod stream;
pub mod tools;
mod trie;
mod unigram;
mod vocabulary;
pub(crate) mod whitespace;
mod words;

use std::path::{Path, PathBuf};

pub use answer_stream::AnswerStream;
pub use files::{copy_tokenizer_files, tokenizer_files};
pub use mode::Mode;
pub use prompt::{ChatPrompt, Message, PromptFormat, Role};
pub use small::small_tokenizer;
pub use special::SpecialToken;
pub use stream::DecodeStream;

use self::engine::Engine;
use self::loaded::Loaded;
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
        let Some((path, form)) = files::present(dir) else {
            return Ok(None);
        };
        let Loaded {
            engine,
            specials,
            mode,
        } = files::load(&path, form, mode, &settings)?;
        Ok(Some(Self {
            pad_id: pad_id(&specials, &settings),
            engine,
            specials,
            mode,
            path,
        }))
    }

    /// The ids of a text, without special tokens.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Key`] if a `tokenizer.json` cannot express the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.engine.encode(text)
    }

    /// The text of some ids; special tokens and ids outside the vocabulary add nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.engine.decode(ids)
    }

    /// Text of ids that come one at a time.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(&self.engine)
    }

    /// The bytes that a token adds to a text in which others stand before it (at a text's beginning, SentencePiece's
    /// decoders drop a space); not always whole characters. `None` for special tokens, the unknown token and ids
    /// outside the vocabulary: they are no text.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self.specials.has(id) {
            true => None,
            false => self.engine.token_bytes(id),
        }
    }

    /// Whether whitespace is written as ChatGLM-6B's markers, which no answer can then hold as text: decoding reads the
    /// tokens `<`, `n` and `>` as a line break.
    pub(crate) fn marks_whitespace(&self) -> bool {
        self.engine.marks_whitespace()
    }

    /// The family.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.engine.size()
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

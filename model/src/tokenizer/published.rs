//! The published tokenizers as a pipeline of the `tokenizers` crate: our normalizer, our word split and
//! our two models, in place of those that give other ids.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{DecoderWrapper, Model, PostProcessorWrapper, Token, TokenizerImpl};

use super::decode::{Assembler, Spelling};
use super::normalizer::TextNormalizer;
use super::ranked_bpe::RankedBpe;
use super::sentencepiece::SentencePiece;
use super::unigram::Unigram;
use super::vocabulary::Vocabulary;
use super::words::Words;
use crate::error::{Error, Result};

/// Text to ids. Decoding is [`super::decode`]'s: it must stream.
type Pipeline =
    TokenizerImpl<Subwords, TextNormalizer, Words, PostProcessorWrapper, DecoderWrapper>;

/// What runs a published tokenizer.
#[derive(Debug)]
pub(super) struct Published {
    pipeline: Box<Pipeline>,
    spelling: Spelling,
}

/// How a word (or a whole text) becomes tokens.
#[derive(Debug, Clone)]
pub(super) enum Subwords {
    Unigram(Unigram),
    Bpe(RankedBpe),
}

impl Subwords {
    pub(super) fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Unigram(model) => &model.vocabulary,
            Self::Bpe(model) => &model.vocabulary,
        }
    }
}

impl Published {
    /// A SentencePiece model.
    ///
    /// # Errors
    /// What is wrong with the model's normalization rules.
    pub(super) fn of_pieces(
        model: &SentencePiece,
        subwords: Subwords,
        marks_whitespace: bool,
    ) -> Result<Self, String> {
        let mut pipeline = Pipeline::new(subwords);
        pipeline.with_normalizer(Some(TextNormalizer::new(model, marks_whitespace)?));
        Ok(Self {
            pipeline: Box::new(pipeline),
            spelling: Spelling::Pieces {
                unknown: model.unknown_surface.clone(),
                drops_first_space: model.add_dummy_prefix || model.remove_extra_whitespaces,
                drops_all_first_spaces: model.remove_extra_whitespaces,
                marks_whitespace,
            },
        })
    }

    /// Ranks of byte sequences, and how a text is cut into words.
    pub(super) fn of_ranks(ranks: RankedBpe, words: Words) -> Self {
        let mut pipeline = Pipeline::new(Subwords::Bpe(ranks));
        pipeline.with_pre_tokenizer(Some(words));
        Self {
            pipeline: Box::new(pipeline),
            spelling: Spelling::Bytes,
        }
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.pipeline.encode_fast(text, false);
        let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What puts text together from ids.
    pub(super) fn assembler(&self) -> Assembler<'_> {
        Assembler::new(self.pipeline.get_model().vocabulary(), &self.spelling)
    }

    /// What a token adds to a text; `None` for one that is no text.
    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.pipeline.get_model().vocabulary().get(id)?;
        self.spelling.bytes(token)
    }

    /// Whether whitespace is written as ChatGLM-6B's markers.
    pub(super) fn marks_whitespace(&self) -> bool {
        self.spelling.marks_whitespace()
    }

    /// One more than the highest id.
    pub(super) fn size(&self) -> usize {
        self.pipeline.get_model().vocabulary().size()
    }
}

impl Model for Subwords {
    /// The trait wants one; a published vocabulary is never trained again.
    type Trainer = BpeTrainer;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        let found = match self {
            Self::Unigram(model) => model.split(text),
            Self::Bpe(model) => model.split(text),
        };
        // Nobody reads the tokens' names, only their ids.
        let token = |(id, start, end)| Token::new(id, String::new(), (start, end));
        Ok(found.into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        let vocabulary = self.vocabulary();
        let mut tokens = vocabulary.tokens.iter().zip(vocabulary.shift..);
        tokens
            .find(|(known, _)| *known.bytes == *token.as_bytes())
            .map(|(_, id)| id)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.vocabulary().get(id).map(|token| token.name())
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        let vocabulary = self.vocabulary();
        vocabulary
            .tokens
            .iter()
            .zip(vocabulary.shift..)
            .map(|(token, id)| (token.name(), id))
            .collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.vocabulary().size()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a published tokenizer is copied, not saved".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

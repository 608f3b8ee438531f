//! The published tokenizers as a pipeline of the `tokenizers` crate: our normalizer, our word split and
//! our two models, in place of those that give other ids.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{DecoderWrapper, Model, PostProcessorWrapper, Token, TokenizerImpl};

use super::Engine;
use super::decode::Spelling;
use super::normalizer::TextNormalizer;
use super::ranked_bpe::RankedBpe;
use super::sentencepiece::SentencePiece;
use super::unigram::Unigram;
use super::vocabulary::Vocabulary;
use super::words::Words;

/// Text to ids, for published files. Decoding is [`super::decode`]'s: it must stream.
pub(super) type Pipeline =
    TokenizerImpl<Subwords, TextNormalizer, Words, PostProcessorWrapper, DecoderWrapper>;

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

/// The engine of a SentencePiece model.
///
/// # Errors
/// What is wrong with the model's normalization rules.
pub(super) fn of_pieces(
    model: &SentencePiece,
    subwords: Subwords,
    marks_whitespace: bool,
) -> Result<Engine, String> {
    let mut pipeline = TokenizerImpl::new(subwords);
    pipeline.with_normalizer(Some(TextNormalizer::new(model, marks_whitespace)?));
    Ok(Engine::Published {
        pipeline: Box::new(pipeline),
        spelling: Spelling::Pieces {
            unknown: model.unknown_surface.clone(),
            drops_first_space: model.add_dummy_prefix || model.remove_extra_whitespaces,
            drops_all_first_spaces: model.remove_extra_whitespaces,
            marks_whitespace,
        },
    })
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

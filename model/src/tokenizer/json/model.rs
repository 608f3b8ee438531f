//! The model of a `tokenizer.json`: which tokens there are, and how a word becomes some of them.

use std::path::Path;

use tokenizers::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;

use super::file::{Merge, ModelFile, Vocab};
use crate::error::{Error, Result};
use crate::tokenizer::limits;
use crate::tokenizer::shown::shown;

const KINDS: &str = "BPE, Unigram, WordLevel or WordPiece";

/// Builds the model.
///
/// # Errors
/// [`Error::Key`] naming what the model cannot have.
pub(super) fn build(path: &Path, file: ModelFile) -> Result<ModelWrapper> {
    let kind = file.kind.clone();
    // Older files do not say.
    let kind = kind
        .as_deref()
        .unwrap_or(match (&file.vocab, &file.merges) {
            (Vocab::Scores(_), _) => "Unigram",
            (_, Some(_)) => "BPE",
            _ => "nothing",
        });
    let fault = |key: &str, found: String, expected: &str| {
        Error::key(path, format!("model.{key}"), found, expected)
    };
    if let Vocab::Ids(ids) = &file.vocab {
        check_ids(ids.values().copied())
            .map_err(|(found, expected)| fault("vocab", found, &expected))?;
    }
    if let Some(dropout) = file.dropout.filter(|&dropout| dropout != 0.0) {
        let expected = "null: with it the same text has other ids each time";
        return Err(fault("dropout", dropout.to_string(), expected));
    }
    let model = Model { path, file };
    match kind {
        "BPE" => model.bpe().map(ModelWrapper::BPE),
        "Unigram" => model.unigram().map(ModelWrapper::Unigram),
        "WordLevel" => model.word_level().map(ModelWrapper::WordLevel),
        "WordPiece" => model.word_piece().map(ModelWrapper::WordPiece),
        other => Err(fault("type", shown(other), KINDS)),
    }
}

/// Ids must be unlike each other, and not far above the number of tokens: models are sized by the highest.
fn check_ids(ids: impl ExactSizeIterator<Item = u32>) -> Result<(), (String, String)> {
    let most = ids.len() + limits::ADDED_TOKENS;
    let mut seen = vec![false; most];
    for id in ids {
        match seen.get_mut(id as usize) {
            None => {
                return Err((format!("the id {id}"), format!("ids below {most}")));
            }
            Some(seen) if *seen => {
                return Err((format!("the id {id} twice"), "an id for each token".into()));
            }
            Some(seen) => *seen = true,
        }
    }
    Ok(())
}

struct Model<'a> {
    path: &'a Path,
    file: ModelFile,
}

impl Model<'_> {
    fn fault(&self, key: &str, found: impl std::fmt::Display, expected: &str) -> Error {
        Error::key(self.path, format!("model.{key}"), found, expected)
    }

    /// The crate's own objections, which come without a place.
    fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::malformed(
            self.path,
            format!("key `model`: {}", shown(&error.to_string())),
        )
    }

    fn ids(&mut self) -> Result<ahash::AHashMap<String, u32>> {
        let empty = Vocab::Ids(ahash::AHashMap::new());
        match std::mem::replace(&mut self.file.vocab, empty) {
            Vocab::Ids(ids) => Ok(ids),
            Vocab::Scores(_) => Err(self.fault("vocab", "a list", "an object of tokens and ids")),
        }
    }

    fn bpe(mut self) -> Result<BPE> {
        let ids = self.ids()?;
        let prefix = self
            .file
            .continuing_subword_prefix
            .take()
            .unwrap_or_default();
        let merges = self
            .file
            .merges
            .take()
            .map_or(Vec::new(), |merges| merges.0);
        // The crate cuts the prefix off without looking.
        let cannot_be_cut = |merge: &Merge| merge.1.get(prefix.len()..).is_none();
        if let Some(index) = merges.iter().position(cannot_be_cut) {
            let expected = format!(
                "a second token that begins with the prefix `{}`",
                shown(&prefix)
            );
            let found = shown(&merges[index].1);
            return Err(self.fault(&format!("merges[{index}]"), found, &expected));
        }
        let merges = merges.into_iter().map(|Merge(left, right)| (left, right));
        let mut builder = BPE::builder()
            .fuse_unk(self.file.fuse_unk.unwrap_or(false))
            .byte_fallback(self.file.byte_fallback.unwrap_or(false))
            .ignore_merges(self.file.ignore_merges.unwrap_or(false));
        if let Some(unknown) = self.file.unk_token.take() {
            self.check_known("unk_token", &unknown, ids.contains_key(&unknown))?;
            builder = builder.unk_token(unknown);
        }
        if !prefix.is_empty() {
            self.check_short("continuing_subword_prefix", &prefix)?;
            builder = builder.continuing_subword_prefix(prefix);
        }
        let suffix = self.file.end_of_word_suffix.take();
        if let Some(suffix) = suffix.filter(|suffix| !suffix.is_empty()) {
            self.check_short("end_of_word_suffix", &suffix)?;
            builder = builder.end_of_word_suffix(suffix);
        }
        let built = builder.vocab_and_merges(ids, merges.collect()).build();
        built.map_err(|error| self.failed(error))
    }

    fn unigram(mut self) -> Result<Unigram> {
        let empty = Vocab::Scores(Vec::new());
        let Vocab::Scores(pieces) = std::mem::replace(&mut self.file.vocab, empty) else {
            let expected = "a list of pieces and scores";
            return Err(self.fault("vocab", "an object", expected));
        };
        let mut seen = std::collections::HashSet::with_capacity(pieces.len());
        if let Some(index) = pieces.iter().position(|(piece, _)| !seen.insert(piece)) {
            let found = format!("`{}` twice", shown(&pieces[index].0));
            return Err(self.fault(
                &format!("vocab[{index}]"),
                found,
                "pieces unlike each other",
            ));
        }
        let Some(unknown) = self.file.unk_id.filter(|&id| id < pieces.len()) else {
            let found = self.file.unk_id;
            let found = found.map_or("nothing".to_string(), |id| id.to_string());
            return Err(self.fault("unk_id", found, "the index of a piece in `vocab`"));
        };
        let built = Unigram::from(
            pieces,
            Some(unknown),
            self.file.byte_fallback.unwrap_or(false),
        );
        built.map_err(|error| self.failed(error))
    }

    fn word_level(mut self) -> Result<WordLevel> {
        let ids = self.ids()?;
        let unknown = self.unknown(&ids)?;
        let built = WordLevel::builder().vocab(ids).unk_token(unknown).build();
        built.map_err(|error| self.failed(error))
    }

    fn word_piece(mut self) -> Result<WordPiece> {
        let ids = self.ids()?;
        let unknown = self.unknown(&ids)?;
        let prefix = self.file.continuing_subword_prefix.take();
        let prefix = prefix.unwrap_or_else(|| "##".to_string());
        self.check_short("continuing_subword_prefix", &prefix)?;
        let longest = self.file.max_input_chars_per_word.unwrap_or(100);
        if longest > limits::WORD_PIECE_CHARACTERS {
            let expected = format!("at most {}", limits::WORD_PIECE_CHARACTERS);
            return Err(self.fault("max_input_chars_per_word", longest, &expected));
        }
        let built = WordPiece::builder()
            .vocab(ids)
            .unk_token(unknown)
            .continuing_subword_prefix(prefix)
            .max_input_chars_per_word(longest)
            .build();
        built.map_err(|error| self.failed(error))
    }

    fn unknown(&mut self, ids: &ahash::AHashMap<String, u32>) -> Result<String> {
        let unknown = self.file.unk_token.take();
        let expected = "the token for words outside of the vocabulary";
        let unknown = unknown.ok_or_else(|| self.fault("unk_token", "nothing", expected))?;
        self.check_known("unk_token", &unknown, ids.contains_key(&unknown))?;
        Ok(unknown)
    }

    fn check_known(&self, key: &str, token: &str, is_known: bool) -> Result<()> {
        match is_known {
            true => Ok(()),
            false => Err(self.fault(key, shown(token), "a token of `model.vocab`")),
        }
    }

    /// It is written before or after every token of a word.
    fn check_short(&self, key: &str, text: &str) -> Result<()> {
        match text.len() <= 16 {
            true => Ok(()),
            false => Err(self.fault(key, shown(text), "at most 16 bytes")),
        }
    }
}

//! A plain `tokenizer.json`, run by the `tokenizers` crate. The crate takes a file at its word: here it is read
//! and checked first, and what cannot be used is refused with its place in the file.

mod added;
mod decoder;
mod file;
mod model;
mod node;
mod normalizer;
mod pipeline;
mod pre_tokenizer;
mod precompiled;
mod refusal;
mod replace;
mod steps;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use self::decoder::Decoding;
use self::file::File;
use self::node::Node;
use self::normalizer::Normalization;
use self::pipeline::Pipeline;
use self::pre_tokenizer::Splits;
use super::limits;
use super::loaded::Loaded;
use super::mode::Mode;
use super::settings::Settings;
use super::shown::shown;
use super::special::{SpecialToken, Specials};
use crate::error::{Error, Result};

/// What runs a `tokenizer.json`.
#[derive(Debug)]
pub(super) struct JsonEngine {
    pipeline: Pipeline,
    path: PathBuf,
    size: usize,
}

/// Reads `tokenizer.json`.
pub(super) fn load(path: &Path, bytes: &[u8], settings: &Settings) -> Result<Loaded<JsonEngine>> {
    let engine = guarded(path, || JsonEngine::read(path, bytes))??;
    let specials = engine.specials();
    Ok(Loaded {
        mode: mode(&specials, settings),
        specials,
        engine,
    })
}

/// The family, told by the special tokens.
fn mode(specials: &Specials, settings: &Settings) -> Mode {
    let has = |token| specials.get(token).is_some();
    let roles = has(SpecialToken::User) || settings.has_roles();
    match (roles, has(SpecialToken::EndOfText)) {
        (true, true) => Mode::Glm4,
        (true, false) => Mode::Glm3,
        (false, _) if specials.by_name("<eop>").is_some() => Mode::Glm,
        (false, _) => Mode::Glm2,
    }
}

impl JsonEngine {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| Error::json(path, error))?;
        if let Some(version) = file.version.filter(|version| version != "1.0") {
            return Err(Error::key(path, "version", shown(&version), "1.0"));
        }
        let part = |name, part| Node::new(path, name, part);
        let normalization = Normalization::read(part("normalizer", &file.normalizer.0))?;
        let splits = Splits::read(part("pre_tokenizer", &file.pre_tokenizer.0))?;
        let decoding = Decoding::read(part("decoder", &file.decoder.0))?;
        let mut pipeline = Pipeline::new(model::build(path, file.model)?);
        pipeline.with_normalizer(Some(normalization.clone()));
        pipeline.with_pre_tokenizer(Some(splits));
        pipeline.with_decoder(decoding);
        let added = file.added_tokens.map_or(Vec::new(), |tokens| tokens.0);
        added::add(path, &mut pipeline, &normalization, added)?;
        refused(path)?;
        // Text never becomes a special token.
        pipeline.set_encode_special_tokens(true);
        let highest = pipeline.get_vocab(true).into_values().max();
        Ok(Self {
            pipeline,
            path: path.to_path_buf(),
            size: highest.map_or(0, |id| id as usize + 1),
        })
    }

    fn specials(&self) -> Specials {
        let added = self.pipeline.get_added_tokens_decoder();
        let mut specials: Specials = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content.clone(), *id))
            .collect();
        // Some files have the family's tokens in the vocabulary only.
        let missing = SpecialToken::ALL
            .into_iter()
            .filter(|&token| specials.get(token).is_none());
        let found: Vec<(String, u32)> = missing
            .flat_map(SpecialToken::names)
            .filter_map(|name| Some((name.to_string(), self.pipeline.token_to_id(name)?)))
            .collect();
        specials.extend(found);
        specials
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`Error::Key`] if a step would make too much of it; [`Error::Malformed`] if the vocabulary cannot
    /// express it.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(&self.path, || self.pipeline.encode_fast(text, false))?;
        refused(&self.path)?;
        let encoding = encoding.map_err(|error| {
            let detail = format!("a text cannot be encoded: {}", shown(&error.to_string()));
            Error::malformed(&self.path, detail)
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let decoded = guarded(&self.path, || self.pipeline.decode(ids, true));
        match decoded.map(|text| text.map_err(|error| Error::Tokenizer(error.to_string()))) {
            Ok(Ok(text)) => text,
            Ok(Err(error)) | Err(error) => {
                tracing::error!("{error}");
                String::new()
            }
        }
    }

    /// What a token that is not special adds to a text in which others stand before and after it.
    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let name = self.pipeline.id_to_token(id)?;
        let decoder = self.pipeline.get_decoder();
        let bytes = decoder.and_then(|decoder| decoder.bytes_of(&name));
        bytes.or_else(|| self.text_between(id))
    }

    /// The text of a token between two others, for decoders whose steps are not those of bytes.
    fn text_between(&self, id: u32) -> Option<Vec<u8>> {
        let anchor = self.encode("a").ok()?.last().copied()?;
        let first = self.decode(&[anchor]);
        let both = self.decode(&[anchor, anchor]);
        let second = both.strip_prefix(first.as_str())?;
        let all = self.decode(&[anchor, id, anchor]);
        let text = all.strip_prefix(first.as_str())?.strip_suffix(second)?;
        Some(text.as_bytes().to_vec())
    }

    /// One more than the highest id.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The normalizer's refusal, if there was one.
fn refused(path: &Path) -> Result<()> {
    let Some(refusal) = refusal::take() else {
        return Ok(());
    };
    let expected = format!("at most {} times as many", limits::GROWTH);
    Err(Error::key(path, refusal.at, refusal.found, expected))
}

/// Runs the crate's code; should a file get it to panic all the same, that is the file's fault.
fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        // Of a run that was cut short.
        refusal::take();
        let detail = format!("cannot be used: {}", shown(&cause(panic.as_ref())));
        Error::malformed(path, detail)
    })
}

fn cause(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("unknown").to_string()
}

//! The form of `tokenizer.json`, read without building more than the file's kind can have: counts are bounded
//! while they are read.
//!
//! `truncation`, `padding` and `post_processor` are not read: lengths are the caller's, as in the published
//! tools, and special tokens stand where the prompts put them.

use std::cell::Cell;
use std::fmt;

use ahash::AHashMap;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::tokenizer::limits;
use crate::tokenizer::shown::shown;

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) added_tokens: Option<Bounded<AddedFile, { limits::ADDED_TOKENS }>>,
    #[serde(default)]
    pub(super) normalizer: Part,
    #[serde(default)]
    pub(super) pre_tokenizer: Part,
    #[serde(default)]
    pub(super) decoder: Part,
    pub(super) model: ModelFile,
}

/// A token beside the model's.
#[derive(Debug, Deserialize)]
pub(super) struct AddedFile {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: Option<bool>,
    #[serde(default)]
    pub(super) special: bool,
}

/// The fields of all kinds of models.
#[derive(Debug, Deserialize)]
pub(super) struct ModelFile {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: Vocab,
    pub(super) merges: Option<Bounded<Merge, { limits::MERGES }>>,
    pub(super) unk_token: Option<String>,
    pub(super) unk_id: Option<usize>,
    pub(super) dropout: Option<f64>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    pub(super) fuse_unk: Option<bool>,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
    pub(super) max_input_chars_per_word: Option<usize>,
}

/// Tokens by id, or with scores.
#[derive(Debug)]
pub(super) enum Vocab {
    Ids(AHashMap<String, u32>),
    Scores(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and ids, or a list of pieces and scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut ids = AHashMap::new();
        while let Some((token, id)) = map.next_entry::<String, u32>()? {
            check_token(&token, limits::TOKEN_BYTES, ids.len())?;
            // The map keeps the key that it has, so the token is spelled for the message before.
            if let Some(other) = ids.insert(token, id) {
                return Err(A::Error::custom(format!(
                    "a token is there twice, with the ids {other} and {id}"
                )));
            }
        }
        Ok(Vocab::Ids(ids))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
        let mut scores = Vec::new();
        while let Some((piece, score)) = seq.next_element::<(String, f64)>()? {
            check_token(&piece, limits::UNIGRAM_PIECE, scores.len())?;
            scores.push((piece, score));
        }
        Ok(Vocab::Scores(scores))
    }
}

fn check_token<E: serde::de::Error>(token: &str, longest: usize, count: usize) -> Result<(), E> {
    if token.len() > longest {
        let (shown, length) = (shown(token), token.len());
        return Err(E::custom(format!(
            "the token `{shown}` has {length} bytes, and at most {longest} can be used"
        )));
    }
    check_count(count, limits::TOKENS)
}

fn check_count<E: serde::de::Error>(count: usize, most: usize) -> Result<(), E> {
    match count < most {
        true => Ok(()),
        false => Err(E::custom(format!("more than {most} items"))),
    }
}

/// Two neighbours that become one token: `["a", "b"]`, or `"a b"` in older files.
#[derive(Debug)]
pub(super) struct Merge(pub(super) String, pub(super) String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge: two tokens, or both in one string with a space between")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
        match text.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok(Merge(left.into(), right.into())),
            _ => Err(E::custom(format!(
                "the merge `{}` is not two tokens with a space between",
                shown(text)
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
        let left = seq.next_element()?;
        let right = seq.next_element()?;
        let end = seq.next_element::<String>()?;
        match (left, right, end) {
            (Some(left), Some(right), None) => Ok(Merge(left, right)),
            _ => Err(A::Error::custom("a merge is of two tokens")),
        }
    }
}

/// A list of at most `MOST` items.
#[derive(Debug)]
pub(super) struct Bounded<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(std::marker::PhantomData))
    }
}

struct BoundedVisitor<T, const MOST: usize>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for BoundedVisitor<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            check_count(items.len(), MOST)?;
            items.push(item);
        }
        Ok(Bounded(items))
    }
}

/// A part of the file that is small: a value takes many times the memory of its text.
#[derive(Debug, Default)]
pub(super) struct Part(pub(super) Value);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Counted(&Cell::new(0)).deserialize(deserializer).map(Part)
    }
}

/// Reads a value and counts those inside of it.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        check_count(self.0.get(), limits::JSON_VALUES)?;
        self.0.set(self.0.get() + 1);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            fields.insert(key, map.next_value_seed(self)?);
        }
        Ok(fields.into())
    }
}

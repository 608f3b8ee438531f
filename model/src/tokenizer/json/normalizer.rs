//! The normalizer of a `tokenizer.json`: the crate's steps where they are harmless, ours where a parameter
//! decides what they cost.

use tokenizers::normalizers::{
    BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, NormalizerWrapper, Strip,
    StripAccents,
};
use tokenizers::{NormalizedString, Normalizer};

use super::node::Node;
use super::precompiled::Precompiled;
use super::refusal::{self, Refusal};
use super::replace::Replace;
use super::steps;
use crate::error::Result;
use crate::tokenizer::limits;
use crate::tokenizer::shown::shown;

const KINDS: &str = "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, \
                     Replace, Sequence, Strip or StripAccents";
/// However short a text is, it may become this long.
const ROOM: usize = 1024;

/// Steps in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Normalization(Vec<(String, Step)>);

#[derive(Debug, Clone)]
enum Step {
    Plain(NormalizerWrapper),
    Precompiled(Precompiled),
    Prepend(String),
    Replace(Replace),
}

impl Normalization {
    /// # Errors
    /// [`Error::Key`](crate::Error::Key) naming the step.
    pub(super) fn read(part: Node<'_>) -> Result<Self> {
        let steps = steps::flatten(part, "normalizers")?;
        let read = |node: &Node<'_>| Ok((node.at().to_string(), Step::read(node)?));
        steps.iter().map(read).collect::<Result<_>>().map(Self)
    }
}

impl Step {
    fn read(node: &Node<'_>) -> Result<Self> {
        Ok(Self::Plain(match node.kind()? {
            "Precompiled" => return Ok(Self::Precompiled(Precompiled::read(node)?)),
            "Prepend" => {
                let text = node.field("prepend").short_text(limits::GROWTH)?;
                return Ok(Self::Prepend(text.to_string()));
            }
            "Replace" => return Ok(Self::Replace(Replace::read(node)?)),
            "BertNormalizer" => {
                let accents = node.field("strip_accents");
                BertNormalizer::new(
                    node.field("clean_text").flag()?,
                    node.field("handle_chinese_chars").flag()?,
                    (!accents.is_null()).then(|| accents.flag()).transpose()?,
                    node.field("lowercase").flag()?,
                )
                .into()
            }
            "Strip" => {
                let (left, right) = (node.field("strip_left"), node.field("strip_right"));
                Strip::new(left.flag()?, right.flag()?).into()
            }
            "StripAccents" => StripAccents.into(),
            "ByteLevel" => ByteLevel::new().into(),
            "Lowercase" => Lowercase.into(),
            "NFC" => NFC.into(),
            "NFD" => NFD.into(),
            "NFKC" => NFKC.into(),
            "NFKD" => NFKD.into(),
            "Nmt" => Nmt.into(),
            other => return Err(node.error(format!("the type {}", shown(other)), KINDS)),
        }))
    }

    /// Applies the step, unless more than `longest` bytes came of it: then tells how many.
    fn apply(&self, text: &mut NormalizedString, longest: usize) -> Result<(), usize> {
        match self {
            // None makes more than 11 bytes of one.
            Self::Plain(step) => step.normalize(text).map_err(|_| text.len())?,
            Self::Precompiled(rules) => rules.apply_within(text, longest)?,
            Self::Replace(replace) => replace.apply_within(text, longest)?,
            Self::Prepend(prefix) if !text.is_empty() => {
                text.prepend(prefix);
            }
            Self::Prepend(_) => {}
        }
        match text.len() <= longest {
            true => Ok(()),
            false => Err(text.len()),
        }
    }
}

impl Normalizer for Normalization {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let length = text.len();
        let longest = ROOM + length * limits::GROWTH;
        for (at, step) in &self.0 {
            if let Err(result) = step.apply(text, longest) {
                refusal::note(Refusal {
                    at: at.clone(),
                    found: format!("{result} bytes made of a text of {length}"),
                });
                *text = NormalizedString::from("");
                break;
            }
        }
        Ok(())
    }
}

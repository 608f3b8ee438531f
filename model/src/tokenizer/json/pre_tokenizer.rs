//! The pre-tokenizer of a `tokenizer.json`: how a text is cut into words.

use tokenizers::pattern::Invert;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::delimiter::CharDelimiterSplit;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::fixed_length::FixedLength;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::unicode_scripts::UnicodeScripts;
use tokenizers::pre_tokenizers::whitespace::{Whitespace, WhitespaceSplit};
use tokenizers::{PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::node::Node;
use super::replace::pattern;
use super::steps;
use crate::error::{Error, Result};
use crate::tokenizer::pattern::LinearPattern;
use crate::tokenizer::shown::shown;

const KINDS: &str = "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, Punctuation, \
                     Sequence, Split, UnicodeScripts, Whitespace or WhitespaceSplit";
/// GPT-2's words, which the byte-level step knows by itself.
const GPT2_WORDS: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Steps in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Splits(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Plain(PreTokenizerWrapper),
    Split {
        pattern: LinearPattern,
        behavior: SplitDelimiterBehavior,
        inverts: bool,
    },
    /// Before words are cut.
    SpaceBefore,
}

impl Splits {
    /// # Errors
    /// [`Error::Key`] naming the step.
    pub(super) fn read(part: Node<'_>) -> Result<Self> {
        let nodes = steps::flatten(part, "pretokenizers")?;
        let mut steps = Vec::new();
        let mut spells_bytes = false;
        for node in &nodes {
            if node.kind()? == "ByteLevel" {
                // Each doubles what the one before made.
                if std::mem::replace(&mut spells_bytes, true) {
                    return Err(node.error("ByteLevel again", "one such step"));
                }
                byte_level(node, &mut steps)?;
            } else {
                steps.push(read(node)?);
            }
        }
        Ok(Self(steps))
    }
}

fn read(node: &Node<'_>) -> Result<Step> {
    Ok(Step::Plain(match node.kind()? {
        "Split" => {
            return Ok(Step::Split {
                pattern: pattern(&node.field("pattern"))?,
                behavior: behavior(&node.field("behavior"))?,
                inverts: node.field("invert").flag_or(false)?,
            });
        }
        "BertPreTokenizer" => BertPreTokenizer.into(),
        "CharDelimiterSplit" | "Delimiter" => {
            CharDelimiterSplit::new(node.field("delimiter").character()?).into()
        }
        "Digits" => Digits::new(node.field("individual_digits").flag()?).into(),
        "FixedLength" => {
            let length = node.field("length");
            let length = match length.is_null() {
                true => 5,
                false => length.number(1..=1 << 20)?,
            };
            FixedLength::new(length).into()
        }
        "Metaspace" => metaspace(node)?.into(),
        "Punctuation" => {
            let field = node.field("behavior");
            Punctuation::new(match field.is_null() {
                true => SplitDelimiterBehavior::Isolated,
                false => behavior(&field)?,
            })
            .into()
        }
        "UnicodeScripts" => UnicodeScripts::new().into(),
        "Whitespace" => Whitespace.into(),
        "WhitespaceSplit" => WhitespaceSplit.into(),
        other => return Err(node.error(format!("the type {}", shown(other)), KINDS)),
    }))
}

/// The crate's step in three: the space before, GPT-2's words, bytes as characters.
fn byte_level(node: &Node<'_>, steps: &mut Vec<Step>) -> Result<()> {
    if node.field("add_prefix_space").flag()? {
        steps.push(Step::SpaceBefore);
    }
    if node.field("use_regex").flag_or(true)? {
        steps.push(Step::Split {
            pattern: LinearPattern::new(GPT2_WORDS).map_err(Error::Tokenizer)?,
            behavior: SplitDelimiterBehavior::Isolated,
            inverts: false,
        });
    }
    steps.push(Step::Plain(ByteLevel::new(false, false, false).into()));
    Ok(())
}

fn behavior(node: &Node<'_>) -> Result<SplitDelimiterBehavior> {
    use SplitDelimiterBehavior::{
        Contiguous, Isolated, MergedWithNext, MergedWithPrevious, Removed,
    };
    Ok(match node.text()? {
        "Removed" => Removed,
        "Isolated" => Isolated,
        "MergedWithPrevious" => MergedWithPrevious,
        "MergedWithNext" => MergedWithNext,
        "Contiguous" => Contiguous,
        _ => {
            return Err(
                node.refuse("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous")
            );
        }
    })
}

/// Pre-tokenizers and decoders of this kind are read alike.
pub(super) fn metaspace(node: &Node<'_>) -> Result<Metaspace> {
    let scheme = node.field("prepend_scheme");
    let scheme = match scheme.is_null() {
        true => None,
        false => Some(match scheme.text()? {
            "first" => PrependScheme::First,
            "never" => PrependScheme::Never,
            "always" => PrependScheme::Always,
            _ => return Err(scheme.refuse("first, never or always")),
        }),
    };
    // What older files have in place of the scheme.
    let older = node.field("add_prefix_space");
    let scheme = match (scheme, older.flag_or(true)?) {
        (None | Some(PrependScheme::Never), false) => PrependScheme::Never,
        (Some(_), false) => return Err(older.refuse("true, as `prepend_scheme` says")),
        (scheme, true) => scheme.unwrap_or(PrependScheme::Always),
    };
    let splits = node.field("split").flag_or(true)?;
    Ok(Metaspace::new(
        node.field("replacement").character()?,
        scheme,
        splits,
    ))
}

impl PreTokenizer for Step {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        match self {
            Self::Plain(step) => step.pre_tokenize(text),
            Self::SpaceBefore => text.normalize(|part| {
                if !part.get().starts_with(' ') {
                    part.prepend(" ");
                }
                Ok(())
            }),
            Self::Split {
                pattern,
                behavior,
                inverts: true,
            } => text.split(|_, part| part.split(Invert(pattern), *behavior)),
            Self::Split {
                pattern, behavior, ..
            } => text.split(|_, part| part.split(pattern, *behavior)),
        }
    }
}

impl PreTokenizer for Splits {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.0.iter().try_for_each(|step| step.pre_tokenize(text))
    }
}

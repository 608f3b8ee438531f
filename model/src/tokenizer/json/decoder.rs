//! The decoder of a `tokenizer.json`: how tokens become text again.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::ctc::CTC;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Decoder, DecoderWrapper};

use super::node::Node;
use super::pre_tokenizer::metaspace;
use super::replace::Replace;
use super::steps;
use crate::error::Result;
use crate::tokenizer::byte_level;
use crate::tokenizer::limits;
use crate::tokenizer::shown::shown;

const KINDS: &str = "BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace, Replace, Sequence, Strip or WordPiece";

/// Steps in their order. None of them fails.
#[derive(Debug, Clone)]
pub(super) struct Decoding(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Plain(DecoderWrapper),
    Replace(Replace),
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    /// A suffix that ends words.
    WordEnds(String),
}

impl Decoding {
    /// `None` where the file has no decoder.
    ///
    /// # Errors
    /// [`Error::Key`](crate::Error::Key) naming the step.
    pub(super) fn read(part: Node<'_>) -> Result<Option<Self>> {
        if part.is_null() {
            return Ok(None);
        }
        let mut growth = 1_usize;
        let mut steps = Vec::new();
        for node in steps::flatten(part, "decoders")? {
            let step = Step::read(&node)?;
            // Nobody could be told later: decoding gives text, whatever the ids.
            growth = growth.saturating_mul(step.growth());
            if growth > limits::GROWTH {
                let expected = format!("at most {} times as long", limits::GROWTH);
                return Err(node.error(format!("a text {growth} times as long"), expected));
            }
            steps.push(step);
        }
        Ok(Some(Self(steps)))
    }
}

impl Decoding {
    /// The bytes that a token is the name of, where the decoder spells texts by bytes.
    pub(super) fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        self.0.iter().find_map(|step| match step {
            Step::Plain(DecoderWrapper::ByteLevel(_)) => Some(byte_level::bytes(name)),
            Step::Plain(DecoderWrapper::ByteFallback(_)) => by_number(name),
            _ => None,
        })
    }
}

/// The byte that `<0x41>` names.
fn by_number(name: &str) -> Option<Vec<u8>> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_canonical = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = u8::from_str_radix(digits, 16).ok()?;
    is_canonical.then(|| vec![byte])
}

impl Step {
    fn read(node: &Node<'_>) -> Result<Self> {
        Ok(Self::Plain(match node.kind()? {
            "Replace" => return Ok(Self::Replace(Replace::read(node)?)),
            "Strip" => {
                return Ok(Self::Strip {
                    content: node.field("content").character()?,
                    start: node.field("start").number(0..=limits::STRIPPED)?,
                    stop: node.field("stop").number(0..=limits::STRIPPED)?,
                });
            }
            "BPEDecoder" => {
                let suffix = node.field("suffix").short_text(limits::TOKEN_BYTES)?;
                return Ok(Self::WordEnds(suffix.to_string()));
            }
            "ByteFallback" => DecoderWrapper::ByteFallback(ByteFallback::new()),
            "ByteLevel" => DecoderWrapper::ByteLevel(ByteLevel::new(false, false, false)),
            "CTC" => {
                let text = |name| node.field(name).short_text(limits::TOKEN_BYTES);
                DecoderWrapper::CTC(CTC::new(
                    text("pad_token")?.to_string(),
                    text("word_delimiter_token")?.to_string(),
                    node.field("cleanup").flag()?,
                ))
            }
            "Fuse" => DecoderWrapper::Fuse(Fuse::new()),
            "Metaspace" => DecoderWrapper::Metaspace(metaspace(node)?),
            "WordPiece" => {
                let prefix = node.field("prefix").text()?.to_string();
                let cleanup = node.field("cleanup").flag()?;
                DecoderWrapper::WordPiece(WordPiece::new(prefix, cleanup))
            }
            other => return Err(node.error(format!("the type {}", shown(other)), KINDS)),
        }))
    }

    fn growth(&self) -> usize {
        match self {
            Self::Replace(replace) => replace.growth(),
            _ => 1,
        }
    }
}

impl Decoder for Decoding {
    fn decode_chain(&self, mut tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        for step in &self.0 {
            match step {
                Step::Plain(step) => tokens = step.decode_chain(tokens)?,
                Step::Replace(replace) => change(&mut tokens, |_, token| replace.apply(token)),
                Step::Strip {
                    content,
                    start,
                    stop,
                } => change(&mut tokens, |_, token| {
                    strip(token, *content, *start, *stop)
                }),
                Step::WordEnds(suffix) => {
                    let last = tokens.len().saturating_sub(1);
                    change(&mut tokens, |at, token| {
                        token.replace(suffix, if at == last { "" } else { " " })
                    });
                }
            }
        }
        Ok(tokens)
    }
}

fn change(tokens: &mut [String], new: impl Fn(usize, &str) -> String) {
    for (at, token) in tokens.iter_mut().enumerate() {
        *token = new(at, token);
    }
}

/// Without `content` up to `start` times at the beginning and up to `stop` times at the end.
fn strip(token: &str, content: char, start: usize, stop: usize) -> String {
    let mut rest = token;
    for _ in 0..start {
        let Some(stripped) = rest.strip_prefix(content) else {
            break;
        };
        rest = stripped;
    }
    for _ in 0..stop {
        let Some(stripped) = rest.strip_suffix(content) else {
            break;
        };
        rest = stripped;
    }
    rest.to_string()
}

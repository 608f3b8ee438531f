//! SentencePiece's normalization, and ChatGLM-6B's way of keeping whitespace through it.

use std::borrow::Cow;

use tokenizers::{NormalizedString, Normalizer};

use super::charsmap::Charsmap;
use super::sentencepiece::SentencePiece;
use super::trie::Trie;
use super::vocabulary::Kind;
use super::whitespace;

/// U+2581, which stands for a space inside pieces.
pub(super) const SPACE: &str = "\u{2581}";

/// What happens to text before a SentencePiece model sees it.
#[derive(Debug, Clone)]
pub(super) struct TextNormalizer {
    charsmap: Option<Charsmap>,
    /// Pieces that normalization leaves as they are.
    user_defined: Trie,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    space: &'static str,
    /// Whether newlines, tabs and runs of spaces become markers first.
    mark_whitespace: bool,
}

impl TextNormalizer {
    /// # Errors
    ///
    /// What is wrong with the model's compiled rules.
    pub(super) fn new(model: &SentencePiece, mark_whitespace: bool) -> Result<Self, String> {
        let charsmap = match model.charsmap.as_slice() {
            [] => None,
            bytes => Some(Charsmap::parse(bytes)?),
        };
        Ok(Self {
            charsmap,
            user_defined: Trie::new(model.of_kind(Kind::UserDefined)),
            add_dummy_prefix: model.add_dummy_prefix,
            remove_extra_whitespaces: model.remove_extra_whitespaces,
            space: if model.escape_whitespaces { SPACE } else { " " },
            mark_whitespace,
        })
    }

    /// The text as the model sees it.
    pub(super) fn apply(&self, text: &str) -> String {
        let text = if self.mark_whitespace {
            whitespace::mark(text)
        } else {
            Cow::Borrowed(text)
        };
        let mut rest = &*text;
        if self.remove_extra_whitespaces {
            while let Some((length, " ")) = self.next(rest) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let mut out = String::with_capacity(rest.len() * 5 / 4 + SPACE.len());
        if self.add_dummy_prefix {
            out.push_str(self.space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((length, mut piece)) = self.next(rest) {
            rest = &rest[length..];
            if after_space {
                piece = piece.trim_start_matches(' ');
            }
            if !piece.is_empty() {
                self.push(&mut out, piece);
                after_space = self.remove_extra_whitespaces && piece.ends_with(' ');
            }
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(self.space).len());
        }
        out
    }

    fn push(&self, out: &mut String, piece: &str) {
        for (at, part) in piece.split(' ').enumerate() {
            if at > 0 {
                out.push_str(self.space);
            }
            out.push_str(part);
        }
    }

    /// How many bytes `text` begins with that are normalized together, and what they become.
    fn next<'a>(&'a self, text: &'a str) -> Option<(usize, &'a str)> {
        let first = text.chars().next()?;
        if let Some((length, _)) = self.user_defined.longest_prefix(text.as_bytes()) {
            return Some((length, &text[..length]));
        }
        let rule = self
            .charsmap
            .as_ref()
            .and_then(|rules| rules.longest_prefix(text.as_bytes()));
        // A hostile rule could end inside of a character.
        match rule.filter(|(length, _)| text.is_char_boundary(*length)) {
            Some(rule) => Some(rule),
            None => Some((first.len_utf8(), &text[..first.len_utf8()])),
        }
    }
}

impl Normalizer for TextNormalizer {
    /// Nobody asks for offsets into the original text, so the text is replaced as a whole: keeping
    /// the alignment of each byte would take most of the time of encoding.
    fn normalize(&self, normalized: &mut NormalizedString) -> tokenizers::Result<()> {
        *normalized = NormalizedString::from(self.apply(normalized.get()));
        Ok(())
    }
}

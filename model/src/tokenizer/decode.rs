//! Ids of a published vocabulary back to text.

use super::vocabulary::{Kind, Token, Vocabulary};
use super::{normalizer, whitespace};

/// What bytes that are not UTF-8 become.
pub(super) const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// How a family spells its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Tokens are bytes of UTF-8.
    Bytes,
    /// Tokens are SentencePiece's pieces.
    Pieces {
        /// How the unknown piece is written.
        unknown: String,
        /// Whether spaces at the beginning of the text are not part of it: one, or all.
        drops_first_space: bool,
        drops_all_first_spaces: bool,
        /// Whether whitespace is written as ChatGLM-6B's markers.
        marks_whitespace: bool,
    },
}

impl Spelling {
    /// What a token adds to a text in which others stand before it; `None` for one that is no text.
    pub(super) fn bytes(&self, token: &Token) -> Option<Vec<u8>> {
        match (self, token.kind) {
            (_, Kind::Hidden | Kind::Unknown) => None,
            (_, Kind::Byte(byte)) => Some(vec![byte]),
            (Self::Bytes, _) => Some(token.bytes.to_vec()),
            (
                Self::Pieces {
                    marks_whitespace, ..
                },
                _,
            ) => {
                let text = token.name().replace(normalizer::SPACE, " ");
                let text = match marks_whitespace {
                    true => whitespace::unmark(&text),
                    false => text,
                };
                Some(text.into_bytes())
            }
        }
    }

    /// Whether whitespace is written as ChatGLM-6B's markers.
    pub(super) fn marks_whitespace(&self) -> bool {
        matches!(
            self,
            Self::Pieces {
                marks_whitespace: true,
                ..
            }
        )
    }
}

/// Puts text together from the tokens of a published vocabulary.
#[derive(Debug)]
pub(super) struct Assembler<'a> {
    vocabulary: &'a Vocabulary,
    spelling: &'a Spelling,
    /// Text that has not been taken yet.
    text: String,
    /// Bytes of a character that is not complete.
    bytes: Vec<u8>,
    /// Whether the next piece may still lose its first space.
    at_start: bool,
    has_dropped_space: bool,
    is_empty: bool,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, spelling: &'a Spelling) -> Self {
        Self {
            vocabulary,
            spelling,
            text: String::new(),
            bytes: Vec::new(),
            at_start: true,
            has_dropped_space: false,
            is_empty: true,
        }
    }

    /// Adds a token; one outside the vocabulary adds nothing.
    pub(super) fn push(&mut self, id: u32) {
        let Some(token) = self.vocabulary.get(id) else {
            return;
        };
        match (self.spelling, token.kind) {
            (_, Kind::Byte(byte)) => self.push_bytes(&[byte]),
            (Spelling::Bytes, Kind::Hidden | Kind::Unknown) => {}
            (Spelling::Bytes, _) => self.push_bytes(&token.bytes),
            (Spelling::Pieces { .. }, kind) => {
                self.flush();
                self.push_piece(kind, &String::from_utf8_lossy(&token.bytes));
            }
        }
    }

    fn push_piece(&mut self, kind: Kind, piece: &str) {
        let Spelling::Pieces {
            unknown,
            drops_first_space,
            drops_all_first_spaces,
            ..
        } = self.spelling
        else {
            return;
        };
        if self.has_dropped_space || !self.is_empty {
            self.at_start = false;
        }
        self.has_dropped_space = false;
        match kind {
            Kind::Hidden => {}
            Kind::Unknown => self.push_text(unknown),
            _ => {
                let drops_space = self.at_start && *drops_first_space;
                let rest = piece
                    .strip_prefix(normalizer::SPACE)
                    .filter(|_| drops_space);
                self.has_dropped_space = rest.is_some() && !drops_all_first_spaces;
                self.push_text(&rest.unwrap_or(piece).replace(normalizer::SPACE, " "));
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        self.is_empty &= text.is_empty();
        self.text.push_str(text);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let mut done = 0;
        while done < self.bytes.len() {
            let (valid, broken) = match std::str::from_utf8(&self.bytes[done..]) {
                Ok(text) => (text.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            let rest = &self.bytes[done..done + valid];
            self.text
                .push_str(std::str::from_utf8(rest).unwrap_or_default());
            done += valid;
            let Some(length) = broken else { break };
            self.text.push(REPLACEMENT);
            done += self.replaced_together(length);
        }
        self.is_empty &= self.text.is_empty();
        self.bytes.drain(..done);
    }

    /// How many of `length` bytes that are not a character one replacement stands for: SentencePiece
    /// writes one for each byte, Python one for the whole.
    fn replaced_together(&self, length: usize) -> usize {
        match self.spelling {
            Spelling::Bytes => length,
            Spelling::Pieces { .. } => 1,
        }
    }

    /// Ends a character that will not be completed.
    fn flush(&mut self) {
        let rest = std::mem::take(&mut self.bytes);
        if !rest.is_empty() {
            let count = rest.len().div_ceil(self.replaced_together(rest.len()));
            self.text.extend(std::iter::repeat_n(REPLACEMENT, count));
            self.is_empty = false;
        }
    }

    /// The text that no further token can change.
    pub(super) fn take(&mut self) -> String {
        if !self.spelling.marks_whitespace() {
            return std::mem::take(&mut self.text);
        }
        let open = self
            .text
            .split_off(self.text.len() - whitespace::unfinished(&self.text));
        whitespace::unmark(&std::mem::replace(&mut self.text, open))
    }

    /// All that is left.
    pub(super) fn finish(mut self) -> String {
        self.flush();
        if self.spelling.marks_whitespace() {
            whitespace::unmark(&self.text)
        } else {
            self.text
        }
    }
}

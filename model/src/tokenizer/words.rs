//! GLM-4's split of text into words, before byte-pair encoding.

use regex::Regex;
use tokenizers::pattern::Pattern;
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

use crate::error::{Error, Result};

/// The published pattern without its branch `\s+(?!\S)`, which [`Words::end`] takes over: so the rest
/// needs no look-ahead, and an engine that never backtracks can run it.
const PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+",
    r"|\s+",
);

/// The compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Words(Regex);

impl Words {
    pub(super) fn new() -> Result<Self> {
        Regex::new(PATTERN)
            .map(Self)
            .map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// Where the word that begins at `start` ends.
    fn end(&self, text: &str, start: usize) -> Option<usize> {
        let found = self.0.find_at(text, start)?;
        let last = found.as_str().chars().next_back()?;
        // Only the branch `\s+` ends in whitespace other than a line break. Before a word it leaves
        // one character over, to be that word's beginning.
        let leaves_one = last.is_whitespace()
            && !matches!(last, '\r' | '\n')
            && found.len() > last.len_utf8()
            && found.end() < text.len();
        Some(found.end() - if leaves_one { last.len_utf8() } else { 0 })
    }
}

impl Pattern for &Words {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        let mut words = Vec::with_capacity(inside.len() / 6 + 1);
        let mut start = 0;
        while start < inside.len() {
            let end = self.end(inside, start).unwrap_or(inside.len());
            words.push(((start, end), true));
            start = end;
        }
        Ok(words)
    }
}

impl PreTokenizer for Words {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        text.split(|_, part| part.split(self, SplitDelimiterBehavior::Isolated))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let words = Words::new().unwrap();
        let found = (&words).find_matches(text).unwrap();
        found
            .into_iter()
            .map(|((start, end), _)| &text[start..end])
            .collect()
    }

    #[test]
    fn whitespace_leaves_one_for_the_word_after_it() {
        assert_eq!(words("a   b"), ["a", "  ", " b"]);
        assert_eq!(words("a   "), ["a", "   "]);
        assert_eq!(words("a 1"), ["a", " ", "1"]);
        assert_eq!(words("a \t\u{3000}1"), ["a", " \t", "\u{3000}", "1"]);
        assert_eq!(words(" \n \r\n  x"), [" \n \r\n", " ", " x"]);
    }

    #[test]
    fn numbers_come_in_threes() {
        assert_eq!(
            words("12345, it'S!\n\n"),
            ["123", "45", ",", " it", "'S", "!\n\n"]
        );
    }
}

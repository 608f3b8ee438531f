//! GLM-4's split of text into words, before byte-pair encoding.

use tokenizers::{PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

use super::pattern::LinearPattern;
use crate::error::{Error, Result};

/// As published.
const PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+",
    r"|\s+(?!\S)",
    r"|\s+",
);

/// The compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Words(LinearPattern);

impl Words {
    pub(super) fn new() -> Result<Self> {
        LinearPattern::new(PATTERN)
            .map(Self)
            .map_err(Error::Tokenizer)
    }
}

impl PreTokenizer for Words {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        text.split(|_, part| part.split(&self.0, SplitDelimiterBehavior::Isolated))
    }
}

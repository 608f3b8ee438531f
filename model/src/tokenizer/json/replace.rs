//! `Replace`, which normalizers and decoders have.

use tokenizers::NormalizedString;

use super::node::Node;
use crate::error::Result;
use crate::tokenizer::limits;
use crate::tokenizer::pattern::LinearPattern;
use crate::tokenizer::shown::shown;

/// What a `Split` or a `Replace` looks for: `{"String": …}` or `{"Regex": …}`.
pub(super) fn pattern(node: &Node<'_>) -> Result<LinearPattern> {
    let found = node.variant(&["String", "Regex"])?;
    let text = found.text()?;
    let compiled = match found.is_field("Regex") {
        true => LinearPattern::new(text),
        false => LinearPattern::literal(text),
    };
    compiled.map_err(|detail| {
        found.error(
            format!("`{}`", shown(text)),
            format!("an expression that can be matched in linear time: {detail}"),
        )
    })
}

/// Every match becomes the same text.
#[derive(Debug, Clone)]
pub(super) struct Replace {
    pattern: LinearPattern,
    content: String,
}

impl Replace {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let content = node.field("content");
        let text = content.text()?;
        if text.len() > limits::TOKEN_BYTES {
            let found = format!("{} bytes", text.len());
            return Err(content.error(found, format!("at most {} bytes", limits::TOKEN_BYTES)));
        }
        Ok(Self {
            pattern: pattern(&node.field("pattern"))?,
            content: text.to_string(),
        })
    }

    /// How many times as long a text can become.
    pub(super) fn growth(&self) -> usize {
        self.content.len().div_ceil(self.pattern.shortest()).max(1)
    }

    /// Replaces in a text that keeps track of where it came from; not if more than `longest` bytes came of it.
    pub(super) fn apply_within(
        &self,
        text: &mut NormalizedString,
        longest: usize,
    ) -> Result<(), usize> {
        let matches = self.pattern.find_iter(text.get());
        let (mut removed, mut count) = (0, 0);
        for (start, end) in matches {
            removed += end - start;
            count += 1;
        }
        let length = text.get().len() - removed + count * self.content.len();
        match length <= longest {
            // It only fails on patterns that fail.
            true => text
                .replace(&self.pattern, &self.content)
                .map_err(|_| length),
            false => Err(length),
        }
    }

    /// Replaces in a text.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut before = 0;
        for (start, end) in self.pattern.find_iter(text) {
            out.push_str(&text[before..start]);
            out.push_str(&self.content);
            before = end;
        }
        out.push_str(&text[before..]);
        out
    }
}

//! `Precompiled`: SentencePiece's compiled rules, as the `tokenizers` crate applies them (grapheme by
//! grapheme, the shortest rule), which is not as SentencePiece does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokenizers::NormalizedString;
use unicode_segmentation::UnicodeSegmentation;

use super::node::Node;
use crate::error::Result;
use crate::tokenizer::charsmap::Charsmap;

/// Graphemes of more bytes are looked up character by character.
const GRAPHEME: usize = 6;

/// Compiled rules.
#[derive(Debug, Clone)]
pub(super) struct Precompiled(Charsmap);

impl Precompiled {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let map = node.field("precompiled_charsmap");
        let bytes = STANDARD
            .decode(map.text()?)
            .map_err(|error| map.error("a string", format!("base64: {error}")))?;
        if bytes.is_empty() {
            return Err(map.error("no rules", "compiled rules, or no such step"));
        }
        Charsmap::parse(&bytes)
            .map(Self)
            .map_err(|detail| map.error("broken rules", format!("SentencePiece's: {detail}")))
    }

    /// Applies the rules; not if more than `longest` bytes came of it.
    pub(super) fn apply_within(
        &self,
        text: &mut NormalizedString,
        longest: usize,
    ) -> Result<(), usize> {
        let mut changes = Changes::default();
        for grapheme in text.get().graphemes(true) {
            let whole = (grapheme.len() < GRAPHEME).then(|| self.rule(grapheme));
            if let Some(replacement) = whole.flatten() {
                changes.replace(grapheme, replacement);
            } else {
                grapheme.char_indices().for_each(|(at, character)| {
                    let part = &grapheme[at..at + character.len_utf8()];
                    changes.replace_or_keep(part, self.rule(part));
                });
            }
            if changes.length > longest {
                return Err(changes.length);
            }
        }
        if changes.is_any {
            text.transform(changes.characters, 0);
        }
        Ok(())
    }

    fn rule(&self, text: &str) -> Option<&str> {
        self.0.shortest_prefix(text.as_bytes())
    }
}

/// The characters of the new text, each with how many old ones it adds or stands for.
#[derive(Default)]
struct Changes {
    characters: Vec<(char, isize)>,
    length: usize,
    is_any: bool,
}

impl Changes {
    fn replace_or_keep(&mut self, part: &str, replacement: Option<&str>) {
        match replacement {
            Some(replacement) => self.replace(part, replacement),
            None => {
                self.length += part.len();
                self.characters
                    .extend(part.chars().map(|character| (character, 0)));
            }
        }
    }

    fn replace(&mut self, old: &str, new: &str) {
        self.is_any = true;
        self.length += new.len();
        self.characters
            .extend(new.chars().map(|character| (character, 0)));
        let added = new.chars().count() as isize - old.chars().count() as isize;
        if added > 0 {
            let last = self.characters.iter_mut().rev().take(added as usize);
            last.for_each(|(_, change)| *change = 1);
        } else if let Some((_, change)) = self.characters.last_mut() {
            *change += added;
        }
    }
}

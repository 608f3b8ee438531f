//! SentencePiece's compiled normalization rules: a double-array trie from byte strings to
//! replacements. (The rules apply to the longest matching byte string wherever it stands; the
//! `tokenizers` crate's version works grapheme by grapheme, which gives other ids.)

use std::ops::ControlFlow;

use super::limits;

/// Compiled rules.
#[derive(Debug, Clone)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    /// Replacements, each ended by a NUL.
    replacements: String,
}

impl Charsmap {
    /// Reads the rules from a model file's `precompiled_charsmap`.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or("the normalization rules are cut short")?;
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || !length.is_multiple_of(4) || length > rest.len() {
            return Err(format!(
                "the normalization rules say their trie takes {length} bytes of {}",
                rest.len()
            ));
        }
        let (trie, replacements) = rest.split_at(length);
        let units = trie.chunks_exact(4);
        let units = units.map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements = std::str::from_utf8(replacements)
            .map_err(|error| format!("the normalization rules' replacements: {error}"))?;
        let longest = replacements.split('\0').map(str::len).max();
        if longest > Some(limits::RULE_REPLACEMENT) {
            return Err(format!(
                "a normalization rule's replacement has more than {} bytes",
                limits::RULE_REPLACEMENT
            ));
        }
        Ok(Self {
            units: units.collect(),
            replacements: replacements.to_owned(),
        })
    }

    /// The longest rule that `text` begins with: its length and its replacement.
    pub(super) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, &str)> {
        let mut longest = None;
        self.walk(text, |length, value| {
            longest = Some((length, value));
            ControlFlow::Continue(())
        });
        let (length, start) = longest?;
        Some((length, self.replacement(start)?))
    }

    /// The replacement of the shortest rule that `text` begins with.
    pub(super) fn shortest_prefix(&self, text: &[u8]) -> Option<&str> {
        let mut shortest = None;
        self.walk(text, |_, value| {
            shortest = Some(value);
            ControlFlow::Break(())
        });
        self.replacement(shortest?)
    }

    fn replacement(&self, start: usize) -> Option<&str> {
        self.replacements.get(start..)?.split('\0').next()
    }

    /// Tells the lengths and values of the rules that `text` begins with, the shortest first.
    fn walk(&self, text: &[u8], mut found: impl FnMut(usize, usize) -> ControlFlow<()>) {
        let Some(&root) = self.units.first() else {
            return;
        };
        let mut position = offset(root);
        // A trie that leads back into itself goes on as long as the text does.
        for (at, &byte) in text.iter().take(limits::RULE_LENGTH).enumerate() {
            position ^= usize::from(byte);
            let Some(&unit) = self.units.get(position) else {
                break;
            };
            // A value's unit has bit 31 set and so never carries the label of a byte.
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            position ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&value) = self.units.get(position) else {
                    break;
                };
                if found(at + 1, (value & !(1 << 31)) as usize).is_break() {
                    break;
                }
            }
        }
    }
}

/// Where a unit's children lie, relative to it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_rules_are_refused() {
        for bytes in [
            &b""[..],
            b"\x04\0\0",
            b"\x08\0\0\0abcd",
            b"\x03\0\0\0abcd",
            b"\x04\0\0\0abcd\xff",
        ] {
            assert!(Charsmap::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_hostile_trie_is_walked_within_its_bounds() {
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend([0xff; 8]);
        let rules = Charsmap::parse(&bytes);
        assert_eq!(
            rules
                .ok()
                .and_then(|rules| rules.longest_prefix(b"abc").map(|(n, _)| n)),
            None
        );
    }
}

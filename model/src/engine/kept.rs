//! What sequences that have ended leave behind, for those that begin as they do.

use std::ops::Range;

use crate::batch::RowPositions;

/// Tokens whose keys and values are in the arena.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    /// Where they are, the prefix before them.
    pub place: Range<usize>,
    /// Positions of the prefix.
    pub prefix: usize,
    /// The adapter that acted on them, by its number.
    pub adapter: Option<usize>,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Where they stand.
    pub positions: RowPositions,
}

impl Computed {
    /// How many of the first tokens of a prompt need not be computed again: the last one always is, since what
    /// follows it comes from it.
    pub fn shared(
        &self,
        adapter: Option<usize>,
        prompt: &[u32],
        positions: &RowPositions,
    ) -> usize {
        if self.adapter != adapter {
            return 0;
        }
        shared_tokens(&self.tokens, &self.positions, prompt, positions)
    }
}

/// How many of the first tokens of a prompt have the keys and values of other tokens' beginning.
pub(super) fn shared_tokens(
    tokens: &[u32],
    others: &RowPositions,
    prompt: &[u32],
    positions: &RowPositions,
) -> usize {
    let pairs = tokens.iter().zip(&prompt[..prompt.len().saturating_sub(1)]);
    let common = pairs.take_while(|(a, b)| a == b).count();
    positions.shared_with(others, common)
}

/// What is kept; what was of use longest ago goes first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The latest used is the last.
    entries: Vec<Computed>,
}

impl Kept {
    /// Keeps what a sequence has computed. What is the beginning of it is returned: it is of no more use.
    pub fn add(&mut self, computed: Computed) -> Vec<Computed> {
        let (covered, others) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| {
                entry.adapter == computed.adapter
                    && entry.positions == computed.positions
                    && computed.tokens.starts_with(&entry.tokens)
            });
        self.entries = others;
        self.entries.push(computed);
        covered
    }

    /// The entry that shares most with a prompt, and how many tokens.
    pub fn best(
        &self,
        adapter: Option<usize>,
        prompt: &[u32],
        positions: &RowPositions,
    ) -> Option<(usize, usize)> {
        let shared = self.entries.iter().enumerate();
        let shared = shared.map(|(index, entry)| (index, entry.shared(adapter, prompt, positions)));
        shared
            .filter(|(_, tokens)| *tokens > 0)
            .max_by_key(|(_, tokens)| *tokens)
    }

    /// An entry.
    pub fn get(&self, index: usize) -> Option<&Computed> {
        self.entries.get(index)
    }

    /// Makes an entry the latest used.
    pub fn touch(&mut self, index: usize) {
        let entry = self.entries.remove(index);
        self.entries.push(entry);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, index: usize) -> Computed {
        self.entries.remove(index)
    }

    /// Takes out the one that was of use longest ago.
    pub fn oldest(&mut self) -> Option<Computed> {
        (!self.entries.is_empty()).then(|| self.entries.remove(0))
    }

    /// Takes out all of an adapter.
    pub fn of_adapter(&mut self, adapter: usize) -> Vec<Computed> {
        let all = std::mem::take(&mut self.entries);
        let (gone, others) = all
            .into_iter()
            .partition(|entry| entry.adapter == Some(adapter));
        self.entries = others;
        gone
    }

    /// Where everything that is kept is.
    pub fn places(&self) -> impl Iterator<Item = &Range<usize>> {
        self.entries.iter().map(|entry| &entry.place)
    }

    /// Tokens that are kept.
    pub fn tokens(&self) -> usize {
        self.entries.iter().map(|entry| entry.place.len()).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn computed(adapter: Option<usize>, tokens: &[u32]) -> Computed {
        Computed {
            place: 0..tokens.len(),
            prefix: 0,
            adapter,
            tokens: tokens.to_vec(),
            positions: RowPositions::causal(0),
        }
    }

    #[test]
    fn the_longest_beginning_of_the_same_adapter_is_found() {
        let mut kept = Kept::default();
        assert!(kept.add(computed(None, &[1, 2])).is_empty());
        assert_eq!(kept.add(computed(None, &[1, 2, 3])).len(), 1);
        kept.add(computed(Some(0), &[1, 2, 3, 4]));
        kept.add(computed(None, &[9]));
        let best = |adapter, prompt: &[u32]| kept.best(adapter, prompt, &RowPositions::causal(0));
        assert_eq!(best(None, &[1, 2, 3, 4]), Some((0, 3)));
        // Its last token is computed in any case.
        assert_eq!(best(None, &[1, 2, 3]), Some((0, 2)));
        assert_eq!(best(Some(0), &[1, 2, 7]), Some((1, 2)));
        assert_eq!(best(Some(1), &[1, 2]), None);
        assert_eq!(best(None, &[5]), None);
    }

    #[test]
    fn what_was_of_use_longest_ago_goes_first() {
        let mut kept = Kept::default();
        kept.add(computed(None, &[1]));
        kept.add(computed(None, &[2]));
        kept.touch(0);
        assert_eq!(kept.oldest().unwrap().tokens, [2]);
        assert_eq!(kept.tokens(), 1);
        kept.add(computed(Some(3), &[4]));
        assert_eq!(kept.of_adapter(3).len(), 1);
        assert_eq!(kept.oldest().unwrap().tokens, [1]);
        assert!(kept.oldest().is_none());
    }
}

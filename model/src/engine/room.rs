//! Room for sequences: who gets a place in the arena, with how much of its prompt computed already, and what is kept
//! where nobody needs the place.

use std::ops::Range;

use super::arena::Arena;
use super::kept::{Computed, Kept};
use super::places::Places;
use crate::adapters::PrefixKeyValues;
use crate::batch::RowPositions;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::layers::GlmBackend;

/// The arena, and what its places hold.
#[derive(Debug)]
pub(super) struct Room<B: GlmBackend> {
    /// Keys and values.
    pub arena: Arena<B>,
    places: Places,
    kept: Kept,
}

/// What a request needs.
pub(super) struct Wanted<'a, B: GlmBackend> {
    /// The adapter that acts on it.
    pub adapter: Option<usize>,
    /// What stands before its tokens.
    pub prefix: Option<&'a PrefixKeyValues<B>>,
    /// The tokens of its prompt that need not be computed if they are to be had.
    pub prompt: &'a [u32],
    /// Where its tokens stand.
    pub positions: RowPositions,
    /// Tokens of prompt and answer.
    pub tokens: usize,
}

impl<B: GlmBackend> Wanted<'_, B> {
    fn prefix_len(&self) -> usize {
        self.prefix.map_or(0, PrefixKeyValues::len)
    }

    fn length(&self) -> usize {
        self.prefix_len() + self.tokens
    }

    /// A place of which nothing is computed.
    fn at(&self, place: Range<usize>) -> Computed {
        Computed {
            place,
            prefix: self.prefix_len(),
            adapter: self.adapter,
            tokens: Vec::new(),
            positions: self.positions,
        }
    }
}

impl<B: GlmBackend> Room<B> {
    /// Room for so many tokens of a model, all of it free.
    pub fn new(model: &CausalLm<B>, config: &ModelConfig, capacity: usize) -> Self {
        Self {
            arena: Arena::new(model, config, capacity),
            places: Places::new(capacity),
            kept: Kept::default(),
        }
    }

    /// A place for a request, with as much of its prompt as is kept or running sequences have computed.
    pub fn find<'a>(
        &mut self,
        wanted: &Wanted<'_, B>,
        running: impl Iterator<Item = &'a Computed>,
    ) -> Option<Computed> {
        if let Some(computed) = self.take_over(wanted) {
            return Some(computed);
        }
        // What it begins with goes last of what is kept.
        if let Some((index, _)) = self.best_kept(wanted) {
            self.kept.touch(index);
        }
        let place = make_room(&mut self.places, &mut self.kept, wanted.length())?;
        let mut computed = wanted.at(place);
        match (self.source(wanted, running), wanted.prefix) {
            (Some((from, tokens)), _) => {
                self.arena.copy(&from, computed.place.start);
                computed.tokens = wanted.prompt[..tokens].to_vec();
            }
            (None, Some(prefix)) => self.arena.put_prefix(prefix, computed.place.start),
            (None, None) => {}
        }
        Some(computed)
    }

    /// What is kept of the beginning of a prompt becomes the place of its sequence, if there is room behind it.
    fn take_over(&mut self, wanted: &Wanted<'_, B>) -> Option<Computed> {
        let (index, shared) = self.best_kept(wanted)?;
        let entry = self.kept.get(index)?;
        // What others may go on from is not cut off for a short beginning.
        if shared * 2 < entry.tokens.len() {
            return None;
        }
        let place = entry.place.clone();
        let place = self.places.resize(&place, place.start + wanted.length())?;
        let mut computed = self.kept.remove(index);
        computed.place = place;
        computed.tokens.truncate(shared);
        computed.positions = wanted.positions;
        Some(computed)
    }

    fn best_kept(&self, wanted: &Wanted<'_, B>) -> Option<(usize, usize)> {
        self.kept
            .best(wanted.adapter, wanted.prompt, &wanted.positions)
    }

    /// Where the longest computed beginning of a prompt is, its prefix included, and how many tokens of it.
    fn source<'a>(
        &self,
        wanted: &Wanted<'_, B>,
        running: impl Iterator<Item = &'a Computed>,
    ) -> Option<(Range<usize>, usize)> {
        let kept = self
            .best_kept(wanted)
            .and_then(|(index, tokens)| Some((self.kept.get(index)?.place.start, tokens)));
        let running = running.map(|computed| {
            let tokens = computed.shared(wanted.adapter, wanted.prompt, &wanted.positions);
            (computed.place.start, tokens)
        });
        let all = running.chain(kept);
        let (start, tokens) = all
            .filter(|found| found.1 > 0)
            .max_by_key(|found| found.1)?;
        Some((start..start + wanted.prefix_len() + tokens, tokens))
    }

    /// Keeps what a sequence has computed, in no more place than it needs.
    pub fn keep(&mut self, mut computed: Computed) {
        let end = computed.place.start + computed.prefix + computed.tokens.len();
        let trimmed = self.places.resize(&computed.place, end);
        match trimmed.filter(|_| !computed.tokens.is_empty()) {
            Some(place) => {
                computed.place = place;
                for covered in self.kept.add(computed) {
                    self.places.free(&covered.place);
                }
            }
            None => self.places.free(&computed.place),
        }
    }

    /// Frees the place of a sequence of which nothing is kept.
    pub fn free(&mut self, computed: &Computed) {
        self.places.free(&computed.place);
    }

    /// Keeps nothing of an adapter any more.
    pub fn forget(&mut self, adapter: usize) {
        for kept in self.kept.of_adapter(adapter) {
            self.places.free(&kept.place);
        }
    }

    /// Tokens of the places of sequences, and of what is kept.
    pub fn taken(&self) -> (usize, usize) {
        let kept = self.kept.tokens();
        (self.places.taken() - kept, kept)
    }
}

/// A free range; what is kept gives way to it, if that makes room enough.
fn make_room(places: &mut Places, kept: &mut Kept, length: usize) -> Option<Range<usize>> {
    let mut without_kept = places.clone();
    kept.places().for_each(|place| without_kept.free(place));
    without_kept.take(length)?;
    loop {
        if let Some(place) = places.take(length) {
            return Some(place);
        }
        places.free(&kept.oldest()?.place);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::batch::RowPositions;

    #[test]
    fn what_is_kept_gives_way_only_where_that_helps() {
        let (mut places, mut kept) = (Places::new(20), Kept::default());
        let running = places.take(8).unwrap();
        for token in [1, 2] {
            kept.add(Computed {
                place: places.take(4).unwrap(),
                prefix: 0,
                adapter: None,
                tokens: vec![token; 4],
                positions: RowPositions::causal(0),
            });
        }
        assert_eq!(make_room(&mut places, &mut kept, 13), None);
        assert_eq!(kept.tokens(), 8);
        // The four free tokens and the latest kept four are not enough without the others.
        assert_eq!(make_room(&mut places, &mut kept, 9).unwrap(), 8..17);
        assert_eq!(kept.tokens(), 0);
        places.free(&running);
        assert_eq!(make_room(&mut places, &mut kept, 8).unwrap(), 0..8);
    }
}

//! Byte-pair encoding that ranks the *merged token*.
//!
//! SentencePiece merges the neighbours whose merged piece scores highest, tiktoken those whose merged
//! bytes rank lowest; both take the leftmost of equals. The `tokenizers` crate's BPE ranks the pair
//! instead, and where one token can be merged from several pairs (runs like `-----`), that gives other ids.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use super::sentencepiece::SentencePiece;
use super::trie::Trie;
use super::vocabulary::{Kind, Vocabulary};

/// The id of a symbol outside the vocabulary, until it is spelled by bytes.
const UNKNOWN: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u32,
    /// Lower merges first.
    rank: u32,
}

/// A BPE model.
#[derive(Debug, Clone)]
pub(super) struct RankedBpe {
    pub(super) vocabulary: Arc<Vocabulary>,
    tokens: AHashMap<Box<[u8]>, Entry>,
    longest: usize,
    start: Start,
}

/// What merging starts from.
#[derive(Debug, Clone)]
enum Start {
    Bytes,
    Characters(Characters),
}

#[derive(Debug, Clone)]
struct Characters {
    /// Pieces that are never split nor merged.
    user_defined: Trie,
    /// Characters that follow each other in some piece. No merge crosses any other pair, so text is
    /// cut there, which keeps the heap small however long the text is.
    neighbours: AHashSet<(char, char)>,
    unknown: u32,
    byte_pieces: Option<Box<[u32; 256]>>,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    /// Equal to `start` once the symbol has been merged into the one before.
    end: usize,
    id: u32,
    previous: usize,
    next: usize,
}

impl Symbol {
    const NONE: usize = usize::MAX;

    fn is_gone(&self) -> bool {
        self.start == self.end
    }
}

/// A merge that was possible when it was found: rank, left symbol, right symbol, and its end.
type Candidate = Reverse<(u32, usize, usize, usize)>;

/// Buffers that outlive a chunk of text.
#[derive(Default)]
struct Scratch {
    symbols: Vec<Symbol>,
    candidates: BinaryHeap<Candidate>,
}

impl Scratch {
    fn push(&mut self, start: usize, end: usize, id: u32) {
        let at = self.symbols.len();
        if let Some(last) = self.symbols.last_mut() {
            last.next = at;
        }
        let previous = at.checked_sub(1).unwrap_or(Symbol::NONE);
        self.symbols.push(Symbol {
            start,
            end,
            id,
            previous,
            next: Symbol::NONE,
        });
    }
}

impl RankedBpe {
    /// tiktoken's: from single bytes, the id of a token is its rank.
    pub(super) fn from_ranks(vocabulary: Arc<Vocabulary>, ranks: usize) -> Self {
        let tokens = vocabulary.tokens.iter().take(ranks).zip(0..);
        let tokens = tokens.map(|(token, id)| (token.bytes.clone(), Entry { id, rank: id }));
        Self::new(tokens.collect(), Start::Bytes, vocabulary)
    }

    /// SentencePiece's: from characters, by score.
    pub(super) fn from_scores(model: &SentencePiece, vocabulary: Arc<Vocabulary>) -> Self {
        let mut scores: Vec<f32> = model.scores.clone();
        scores.sort_by(|a, b| b.total_cmp(a));
        let rank = |id: u32| {
            let score = model.scores[id as usize];
            scores.partition_point(|&other| other > score) as u32
        };
        let chosen = model
            .of_kind(Kind::Normal)
            .chain(model.of_kind(Kind::UserDefined));
        let tokens: AHashMap<Box<[u8]>, Entry> = chosen
            .map(|(bytes, id)| (bytes.into(), Entry { id, rank: rank(id) }))
            .collect();
        let start = Start::Characters(Characters {
            user_defined: Trie::new(model.of_kind(Kind::UserDefined)),
            neighbours: neighbours(tokens.keys()),
            unknown: model.unknown,
            byte_pieces: model.byte_pieces.clone(),
        });
        Self::new(tokens, start, vocabulary)
    }

    fn new(tokens: AHashMap<Box<[u8]>, Entry>, start: Start, vocabulary: Arc<Vocabulary>) -> Self {
        let longest = tokens.keys().map(|token| token.len()).max().unwrap_or(0);
        Self {
            vocabulary,
            tokens,
            longest,
            start,
        }
    }

    /// The tokens of `text` with the bytes that each covers.
    pub(super) fn split(&self, text: &str) -> Vec<(u32, usize, usize)> {
        let mut out = Vec::with_capacity(text.len() / 3 + 1);
        match &self.start {
            Start::Bytes => self.split_bytes(text.as_bytes(), &mut out),
            Start::Characters(characters) => self.split_characters(characters, text, &mut out),
        }
        out
    }

    fn split_bytes(&self, text: &[u8], out: &mut Vec<(u32, usize, usize)>) {
        if let Some(entry) = self.find(text) {
            out.push((entry.id, 0, text.len()));
            return;
        }
        let mut scratch = Scratch::default();
        for at in 0..text.len() {
            scratch.push(at, at + 1, self.id(&text[at..at + 1]));
        }
        self.merge(text, &mut scratch, |symbol| {
            out.push((symbol.id, symbol.start, symbol.end))
        });
    }

    fn split_characters(
        &self,
        characters: &Characters,
        text: &str,
        out: &mut Vec<(u32, usize, usize)>,
    ) {
        let bytes = text.as_bytes();
        let mut scratch = Scratch::default();
        let mut finish = |scratch: &mut Scratch| {
            self.merge(bytes, scratch, |symbol| characters.push(out, bytes, symbol));
        };
        let mut before = None;
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let frozen = characters.user_defined.longest_prefix(&bytes[at..]);
            let end = at + frozen.map_or(character.len_utf8(), |(length, _)| length);
            let may_merge = frozen.is_none()
                && before
                    .is_some_and(|before| characters.neighbours.contains(&(before, character)));
            if !may_merge {
                finish(&mut scratch);
            }
            scratch.push(at, end, self.id(&bytes[at..end]));
            before = frozen.is_none().then_some(character);
            at = end;
        }
        finish(&mut scratch);
    }

    /// Merges the symbols of `scratch`, tells what is left, from left to right, and empties it.
    fn merge(&self, text: &[u8], scratch: &mut Scratch, mut found: impl FnMut(&Symbol)) {
        let Scratch {
            symbols,
            candidates,
        } = scratch;
        for left in 1..symbols.len() {
            self.consider(text, symbols, candidates, left - 1, left);
        }
        while let Some(Reverse((_, left, right, end))) = candidates.pop() {
            // Either symbol may have been merged with another since.
            let is_stale = symbols[left].is_gone()
                || symbols[right].is_gone()
                || symbols[left].next != right
                || symbols[right].end != end;
            if is_stale {
                continue;
            }
            let next = symbols[right].next;
            symbols[right].end = symbols[right].start;
            symbols[left].end = end;
            symbols[left].next = next;
            symbols[left].id = self.id(&text[symbols[left].start..end]);
            if next != Symbol::NONE {
                symbols[next].previous = left;
                self.consider(text, symbols, candidates, left, next);
            }
            let previous = symbols[left].previous;
            if previous != Symbol::NONE {
                self.consider(text, symbols, candidates, previous, left);
            }
        }
        symbols
            .iter()
            .filter(|symbol| !symbol.is_gone())
            .for_each(&mut found);
        symbols.clear();
    }

    fn consider(
        &self,
        text: &[u8],
        symbols: &[Symbol],
        candidates: &mut BinaryHeap<Candidate>,
        left: usize,
        right: usize,
    ) {
        let end = symbols[right].end;
        if let Some(entry) = self.find(&text[symbols[left].start..end]) {
            candidates.push(Reverse((entry.rank, left, right, end)));
        }
    }

    fn find(&self, token: &[u8]) -> Option<Entry> {
        if token.len() > self.longest {
            return None;
        }
        self.tokens.get(token).copied()
    }

    fn id(&self, token: &[u8]) -> u32 {
        self.find(token).map_or(UNKNOWN, |entry| entry.id)
    }
}

impl Characters {
    fn push(&self, out: &mut Vec<(u32, usize, usize)>, text: &[u8], symbol: &Symbol) {
        let &Symbol { start, end, id, .. } = symbol;
        match &self.byte_pieces {
            _ if id != UNKNOWN => out.push((id, start, end)),
            Some(bytes) => {
                let spelled = text[start..end].iter();
                out.extend(spelled.map(|&byte| (bytes[usize::from(byte)], start, end)));
            }
            None => match out.last_mut() {
                // Unknown characters in a row are one unknown piece.
                Some(last) if last.0 == self.unknown => last.2 = end,
                _ => out.push((self.unknown, start, end)),
            },
        }
    }
}

fn neighbours<'a>(tokens: impl Iterator<Item = &'a Box<[u8]>>) -> AHashSet<(char, char)> {
    let texts = tokens.filter_map(|token| std::str::from_utf8(token).ok());
    texts
        .flat_map(|text| text.chars().zip(text.chars().skip(1)))
        .collect()
}

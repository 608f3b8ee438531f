//! SentencePiece's unigram model: the split of a text with the highest sum of piece scores.
//!
//! Scores are compared as SentencePiece's optimized encoder compares them (sums in double precision
//! against stored single precision, the first of equals stays), since ties are common and decide ids.

use std::sync::Arc;

use super::sentencepiece::SentencePiece;
use super::trie::Trie;
use super::vocabulary::{Kind, Vocabulary};

/// How far below the worst piece an unknown character scores.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A unigram model. Ids are those of the vocabulary, shift included.
#[derive(Debug, Clone)]
pub(super) struct Unigram {
    pub(super) vocabulary: Arc<Vocabulary>,
    trie: Trie,
    /// By piece.
    scores: Vec<f32>,
    lowest: f32,
    /// At least the least positive number, as in SentencePiece: scores are log-probabilities.
    highest: f32,
    unknown: u32,
    byte_pieces: Option<Box<[u32; 256]>>,
}

/// The best way to reach a position.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    piece: u32,
}

impl Best {
    const NONE: usize = usize::MAX;
}

impl Unigram {
    pub(super) fn new(model: &SentencePiece, vocabulary: Arc<Vocabulary>) -> Self {
        let chosen = model
            .of_kind(Kind::Normal)
            .chain(model.of_kind(Kind::UserDefined));
        let normal = || {
            model
                .of_kind(Kind::Normal)
                .map(|(_, id)| model.scores[id as usize])
        };
        Self {
            trie: Trie::new(chosen),
            scores: model.scores.clone(),
            lowest: normal().fold(f32::MAX, f32::min),
            highest: normal().fold(f32::MIN_POSITIVE, f32::max),
            unknown: model.unknown,
            byte_pieces: model.byte_pieces.clone(),
            vocabulary,
        }
    }

    /// The pieces of `text` with the bytes that each covers.
    pub(super) fn split(&self, text: &str) -> Vec<(u32, usize, usize)> {
        let best = self.search(text);
        let mut path = Vec::new();
        let mut end = text.len();
        while end > 0 {
            path.push((best[end].piece, best[end].start, end));
            end = best[end].start;
        }
        let mut out = Vec::with_capacity(path.len());
        for &(piece, start, end) in path.iter().rev() {
            self.push(&mut out, text, (piece, start, end));
        }
        out
    }

    fn push(&self, out: &mut Vec<(u32, usize, usize)>, text: &str, found: (u32, usize, usize)) {
        let (piece, start, end) = found;
        let shift = self.vocabulary.shift;
        match &self.byte_pieces {
            Some(bytes) if piece == self.unknown => {
                let spelled = text.as_bytes()[start..end].iter();
                out.extend(spelled.map(|&byte| (shift + bytes[usize::from(byte)], start, end)));
            }
            _ => match out.last_mut() {
                // Unknown characters in a row are one unknown piece.
                Some(last) if piece == self.unknown && last.0 == shift + piece => last.2 = end,
                _ => out.push((shift + piece, start, end)),
            },
        }
    }

    /// The best last piece for each end.
    fn search(&self, text: &str) -> Vec<Best> {
        let bytes = text.as_bytes();
        let mut best = vec![
            Best {
                score: 0.0,
                start: Best::NONE,
                piece: 0
            };
            bytes.len() + 1
        ];
        let unknown_score = f64::from(self.lowest - UNKNOWN_PENALTY);
        for (start, character) in text.char_indices() {
            let here = f64::from(best[start].score);
            let width = character.len_utf8();
            let mut is_covered = false;
            let mut node = Trie::ROOT;
            for (at, &byte) in bytes[start..].iter().enumerate() {
                let Some(next) = self.trie.step(node, byte) else {
                    break;
                };
                node = next;
                let Some(piece) = self.trie.value(node) else {
                    continue;
                };
                let length = at + 1;
                improve(
                    &mut best[start + length],
                    here + self.score(piece, length),
                    start,
                    piece,
                );
                is_covered |= length == width;
            }
            if !is_covered {
                // In single precision: this sum alone has no double in it.
                let score = f64::from((unknown_score + here) as f32);
                improve(&mut best[start + width], score, start, self.unknown);
            }
        }
        best
    }

    fn score(&self, piece: u32, length: usize) -> f64 {
        match self.vocabulary.tokens[piece as usize].kind {
            // A bonus over any other split of the same bytes.
            Kind::UserDefined => f64::from(length as f32 * self.highest) - 0.1,
            _ => f64::from(self.scores[piece as usize]),
        }
    }
}

fn improve(best: &mut Best, score: f64, start: usize, piece: u32) {
    if best.start == Best::NONE || score > f64::from(best.score) {
        *best = Best {
            score: score as f32,
            start,
            piece,
        };
    }
}

//! How far down the chain a backward pass must go.

use std::ops::Range;

use glmtune_model::Segment;
use glmtune_model::segment::SegmentPaths;

use crate::error::Result;

/// What the backward pass must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradientBoundary {
    /// The lowest segment.
    pub lowest: LowestTrained,
    /// Whether the prefix encoder is trained.
    pub prefix: bool,
}

impl GradientBoundary {
    /// What must be reached when these parameters are trained.
    ///
    /// # Errors
    /// If no segment has one of them.
    pub fn of<'a>(
        segments: &SegmentPaths,
        trainable: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut boundary = Self {
            lowest: LowestTrained::Head,
            prefix: false,
        };
        for path in trainable {
            let segment = segments.of(path)?;
            boundary.prefix |= segment == Segment::Prefix;
            boundary.lowest = boundary.lowest.min(LowestTrained::from(segment));
        }
        Ok(boundary)
    }
}

impl From<Segment> for LowestTrained {
    fn from(segment: Segment) -> Self {
        match segment {
            Segment::Block(block) => Self::Block(block),
            Segment::Embeddings => Self::Embeddings,
            // The prefix acts in every block.
            Segment::Prefix => Self::Block(0),
            Segment::Head => Self::Head,
        }
    }
}

/// The lowest segment that the backward pass must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LowestTrained {
    /// The word embeddings are trained.
    Embeddings,
    /// The lowest block with something to train.
    Block(usize),
    /// Only norm or output layer are trained.
    Head,
}

impl LowestTrained {
    /// The blocks that run again, out of `blocks`.
    pub(crate) fn recomputed(self, blocks: usize) -> Range<usize> {
        match self {
            Self::Embeddings => 0..blocks,
            Self::Block(block) => block..blocks,
            Self::Head => blocks..blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backward_pass_ends_at_the_lowest_trained_segment() {
        let end = |trained: &[Segment]| {
            let ends = trained.iter().copied().map(LowestTrained::from);
            ends.min().unwrap_or(LowestTrained::Head)
        };
        let block = Segment::Block(3);
        assert_eq!(end(&[Segment::Head]), LowestTrained::Head);
        assert_eq!(end(&[Segment::Head, block]), LowestTrained::Block(3));
        assert_eq!(end(&[Segment::Prefix]), LowestTrained::Block(0));
        assert_eq!(
            end(&[block, Segment::Embeddings]),
            LowestTrained::Embeddings
        );
        assert_eq!(LowestTrained::Block(3).recomputed(5), 3..5);
        assert_eq!(LowestTrained::Head.recomputed(5), 5..5);
    }
}

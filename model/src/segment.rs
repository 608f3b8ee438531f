//! The segments of a model, and which parameters belong to which: each architecture declares it.

use crate::error::{Error, Result};

/// A segment of the chain, or the prefix that all its blocks read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// The word embeddings.
    Embeddings,
    /// The prefix encoder, whose result all blocks read.
    Prefix,
    /// A block.
    Block(usize),
    /// The last norm and the output layer.
    Head,
}

/// The modules of an architecture's segments, by their paths. An adapter belongs to the segment of the module
/// that carries it.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentPaths {
    pub(crate) embeddings: &'static str,
    pub(crate) prefix: &'static str,
    /// The list of blocks; the number of a block follows.
    pub(crate) blocks: &'static str,
    pub(crate) head: &'static [&'static str],
}

impl SegmentPaths {
    /// The segment that a parameter belongs to.
    ///
    /// # Errors
    /// If the architecture has no such parameter.
    pub fn of(&self, path: &str) -> Result<Segment> {
        let unknown = || Error::UnknownParameter(path.to_string());
        if let Some(rest) = inside(path, self.blocks) {
            let number = rest
                .split('.')
                .next()
                .and_then(|number| number.parse().ok());
            return number.map(Segment::Block).ok_or_else(unknown);
        }
        let is_in = |module: &str| inside(path, module).is_some();
        match () {
            () if is_in(self.embeddings) => Ok(Segment::Embeddings),
            () if is_in(self.prefix) => Ok(Segment::Prefix),
            () if self.head.iter().any(|module| is_in(module)) => Ok(Segment::Head),
            () => Err(unknown()),
        }
    }
}

/// What follows the path of a module in that of a parameter inside it.
fn inside<'a>(path: &'a str, module: &str) -> Option<&'a str> {
    path.strip_prefix(module)?.strip_prefix('.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{chatglm, chatglm2};

    #[test]
    fn every_segment_has_its_parameters() {
        let of = |path: &str| chatglm2::SEGMENTS.of(path).unwrap();
        assert_eq!(
            of("transformer.embedding.word_embeddings.weight"),
            Segment::Embeddings
        );
        assert_eq!(
            of("transformer.encoder.layers.13.mlp.dense_4h_to_h.lora.lora_A.weight"),
            Segment::Block(13)
        );
        assert_eq!(
            of("transformer.prefix_encoder.trans.0.weight"),
            Segment::Prefix
        );
        for path in [
            "transformer.encoder.final_layernorm.weight",
            "transformer.output_layer.weight",
            "transformer.output_layer.lora.lora_B.weight",
        ] {
            assert_eq!(of(path), Segment::Head, "{path}");
        }
        let of = |path: &str| chatglm::SEGMENTS.of(path).unwrap();
        assert_eq!(
            of("transformer.word_embeddings.weight"),
            Segment::Embeddings
        );
        assert_eq!(
            of("transformer.layers.0.attention.dense.bias"),
            Segment::Block(0)
        );
        assert_eq!(of("transformer.final_layernorm.bias"), Segment::Head);
        assert_eq!(of("lm_head.weight"), Segment::Head);
    }

    #[test]
    fn what_no_segment_declares_is_an_error() {
        for path in [
            "",
            "lm_head.weight",
            "transformer.layers.0.mlp.dense_h_to_4h.weight",
            "transformer.encoder.layers",
            "transformer.encoder.layers.first.mlp.weight",
            "transformer.encoder.layers_of_another.0.weight",
            "transformer.output_layer",
            "transformer.output_layers.weight",
            "transformer.vision.weight",
        ] {
            let error = chatglm2::SEGMENTS.of(path).unwrap_err();
            assert!(matches!(error, Error::UnknownParameter(_)), "{path}");
        }
    }
}

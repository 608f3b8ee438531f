//! The crate's pipeline with parts that were checked.

use tokenizers::{ModelWrapper, PostProcessorWrapper, TokenizerImpl};

use super::decoder::Decoding;
use super::normalizer::Normalization;
use super::pre_tokenizer::Splits;

/// It has no post-processor: special tokens stand where the prompts put them.
pub(super) type Pipeline =
    TokenizerImpl<ModelWrapper, Normalization, Splits, PostProcessorWrapper, Decoding>;

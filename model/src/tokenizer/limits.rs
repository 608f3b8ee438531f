//! What a tokenizer file may ask for. Published files stay far below; a file beyond is damaged or means
//! harm, and is refused before it costs memory or time.

use crate::files::Limit;

/// `ice_text.model` and `tokenizer.model`; the largest published one has 2.7 MB, those of other families 5.
pub(super) const MODEL_FILE: Limit = Limit::new("a tokenizer's model", 32 << 20);
/// `tokenizer.json`; the largest of any family have some 35 MB.
pub(super) const JSON_FILE: Limit = Limit::new("a tokenizer.json", 64 << 20);
/// `tokenizer_config.json`; those with thousands of added tokens have some 4 MB.
pub(super) const SETTINGS_FILE: Limit = Limit::new("the settings of a tokenizer", 8 << 20);

/// Tokens of a vocabulary; the largest of any family has some 260,000.
pub(super) const TOKENS: usize = 1 << 20;
/// Bytes of a token; GLM-4 has one of 512 spaces.
pub(super) const TOKEN_BYTES: usize = 2048;
/// Tokens that are added to a model's, and ids that lie behind its last.
pub(super) const ADDED_TOKENS: usize = 1 << 16;
/// Bytes of all added tokens together: an automaton is built of them.
pub(super) const ADDED_BYTES: usize = 1 << 20;
/// Ids that stand before the text's in ChatGLM-6B; its first release has 20,000.
pub(super) const IMAGE_TOKENS: u32 = 1 << 17;

/// Bytes of a replacement in compiled normalization rules; U+FDFA becomes 33.
pub(super) const RULE_REPLACEMENT: usize = 64;
/// Bytes that one compiled normalization rule replaces: a few characters.
pub(super) const RULE_LENGTH: usize = 64;
/// Bytes of what SentencePiece's unknown piece is written as.
pub(super) const UNKNOWN_SURFACE: usize = 64;

/// JSON values of one part of `tokenizer.json` other than its model.
pub(super) const JSON_VALUES: usize = 1 << 14;
/// Steps of a normalizer, a pre-tokenizer or a decoder, and how deep their sequences nest.
pub(super) const STEPS: usize = 64;
pub(super) const NESTING: usize = 8;
/// Merges of a BPE model; the largest of any family have some 600,000.
pub(super) const MERGES: usize = 1 << 21;
/// Bytes of a piece of a unigram model in `tokenizer.json`; SentencePiece makes none of more than 64.
pub(super) const UNIGRAM_PIECE: usize = 256;
/// Characters of a word that WordPiece splits, at a cost that grows with their square; 100 are usual.
pub(super) const WORD_PIECE_CHARACTERS: usize = 256;
/// Characters that a decoder strips from either side of a token.
pub(super) const STRIPPED: usize = 1 << 16;
/// How many times as long a normalizer or a decoder may make a text. NFKC makes 11 bytes of one at most, and
/// 33 of three.
pub(super) const GROWTH: usize = 64;

/// Bytes of a regular expression.
pub(super) const PATTERN: usize = 4096;
/// Bytes of a compiled regular expression; GLM-4's takes about 0.2 MB.
pub(super) const COMPILED_PATTERN: usize = 1 << 20;
/// Groups within groups of a regular expression.
pub(super) const PATTERN_NESTING: u32 = 32;

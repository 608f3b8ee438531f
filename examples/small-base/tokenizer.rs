//! A `tokenizer.json` for the model: bytes, single characters, and some English words, each one token.

use serde_json::{Value, json};

use crate::abilities::translation::english_words;
use crate::draw::characters;

/// The special tokens of ChatGLM2, after the pieces.
const SPECIALS: [&str; 7] = [
    "<pad>", "</s>", "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop",
];
/// What is neither a Chinese character nor in ASCII.
const PUNCTUATION: &str = "，。、；：？！（）《》“”‘’【】—…·℃Ω°×→①②③④⑤⑥ⅠⅡⅢ　／％";
/// What stands around every question.
const ROUND: [&str; 3] = ["[Round ", "]\n\n问：", "\n\n答："];
const WORDS: [&str; 24] = [
    "the", "of", "is", "in", "and", "to", "has", "what", "where", "who", "copy", "sort", "first",
    "last", "word", "answer", "from", "with", "for", "not", "this", "that", "it", "a",
];
/// Every piece costs the same, so that a text becomes as few of them as possible.
const COST: f64 = -10.0;

/// The files of the tokenizer, by name.
pub fn files() -> [(&'static str, String); 2] {
    let pieces = pieces();
    let added: Vec<Value> = SPECIALS
        .iter()
        .zip(pieces.len()..)
        .map(|(name, id)| {
            json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let vocabulary: Vec<Value> = pieces.iter().map(|piece| json!([piece, COST])).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": true},
    });
    let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": SPECIALS[0]});
    [
        ("tokenizer.json", tokenizer.to_string() + "\n"),
        ("tokenizer_config.json", config.to_string() + "\n"),
    ]
}

/// `<unk>`, which never appears in a text, then bytes, characters, words.
fn pieces() -> Vec<String> {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let ascii = (b' '..=b'~').map(char::from).chain(['\n']);
    let single = ascii.chain(PUNCTUATION.chars()).chain(characters());
    let words = WORDS.into_iter().chain(english_words()).flat_map(|word| {
        let spaced = format!(" {word}");
        [word.to_string(), spaced]
    });
    let words = words.filter(|word| word.chars().count() > 1);
    let all = std::iter::once("<unk>".to_string())
        .chain(bytes)
        .chain(single.map(String::from))
        .chain(ROUND.map(String::from))
        .chain(words);
    let mut seen = std::collections::HashSet::new();
    all.filter(|piece| seen.insert(piece.clone())).collect()
}

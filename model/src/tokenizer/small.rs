//! A small tokenizer of bytes for models that are made here: it needs no file of others, spells every
//! text, and has its family's special tokens.

use serde_json::{Map, Value, json};

use super::byte_level::byte_characters;
use super::mode::Mode;

/// The special tokens of a family, in the order of their ids after the 256 bytes.
fn specials(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Glm => &["<pad>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"],
        Mode::Glm2 => &[
            "<pad>", "</s>", "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop",
        ],
        Mode::Glm3 => &[
            "<pad>",
            "</s>",
            "[MASK]",
            "[gMASK]",
            "[sMASK]",
            "sop",
            "eop",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|observation|>",
        ],
        Mode::Glm4 => &[
            "<|endoftext|>",
            "[MASK]",
            "[gMASK]",
            "[sMASK]",
            "<sop>",
            "<eop>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|observation|>",
        ],
    }
}

/// `tokenizer.json` and `tokenizer_config.json` of a family's small tokenizer.
pub fn small_tokenizer(mode: Mode) -> (String, String) {
    let vocabulary: Map<String, Value> = byte_characters()
        .zip(0u32..)
        .map(|(character, id)| (character.to_string(), json!(id)))
        .collect();
    let added: Vec<Value> = specials(mode)
        .iter()
        .zip(vocabulary.len()..)
        .map(|(name, id)| {
            json!({"id": id, "content": name, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                            "use_regex": false});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": [],
        },
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": specials(mode)[0],
    });
    (tokenizer.to_string(), config.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::super::Tokenizer;
    use super::*;

    /// The small tokenizer of a family, opened as one of a directory.
    pub(crate) fn opened_small_tokenizer(mode: Mode) -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        let (tokenizer, config) = small_tokenizer(mode);
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        Tokenizer::from_dir(dir.path(), Some(mode)).unwrap()
    }

    #[test]
    fn every_text_comes_back_and_specials_are_not_text() {
        for mode in Mode::ALL {
            let dir = tempfile::tempdir().unwrap();
            let (tokenizer, config) = small_tokenizer(mode);
            std::fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
            std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
            let tokenizer = Tokenizer::from_dir(dir.path(), None).unwrap();
            assert_eq!(tokenizer.mode(), mode);
            assert_eq!(tokenizer.vocab_size(), 256 + specials(mode).len());
            let text = "a\u{0}\n 你好 👍 [gMASK] <|user|></s>";
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.len(), text.len());
            assert_eq!(tokenizer.decode(&ids), text);
            let mut stream = tokenizer.decode_stream();
            let mut streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
            streamed.extend(stream.finish());
            assert_eq!(streamed, text);
        }
    }
}

//! Tokenizer files that are odd, damaged or hostile: each is refused with its place, or works within bounds of
//! time and memory; and those that are sound give what the `tokenizers` crate gives.

#![allow(
    clippy::print_stderr,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use glmtune_model::ModelConfig;
use glmtune_model::tokenizer::{Mode, SpecialToken, Tokenizer, small_tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The longest that a file and a text of 100 KB may take, in a build that is not optimised, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn load(json: &Value) -> Result<Tokenizer, String> {
    let dir = folder(&[("tokenizer.json", json.to_string().as_bytes())]);
    Tokenizer::from_dir(dir.path(), None).map_err(|error| error.to_string())
}

/// The small tokenizer with some keys set anew; a key is a path of fields.
fn small_with(changes: &[(&str, Value)]) -> Value {
    let mut json: Value = serde_json::from_str(&small_tokenizer(Mode::Glm4).0).unwrap();
    for (path, value) in changes {
        *json.pointer_mut(path).unwrap() = value.clone();
    }
    json
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn sequence(items: &str, steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", items: steps})
}

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn added(content: &str, id: u32) -> Value {
    json!([{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false}])
}

/// The most memory that this process ever had.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn charsmap(units: &[u32], replacements: &[u8]) -> Value {
    use base64::Engine;
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(replacements);
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    json!({"type": "Precompiled", "precompiled_charsmap": text})
}

/// Every one of these is refused, and the message holds the path of what is wrong.
#[test]
fn hostile_parts_are_refused_by_name() {
    let normalizer = |step: Value| small_with(&[("/normalizer", step)]);
    let splits = |step: Value| small_with(&[("/pre_tokenizer", step)]);
    let decoder = |step: Value| small_with(&[("/decoder", step)]);
    let deep = (0..20).fold(json!({"type": "NFC"}), |inner, _| {
        sequence("normalizers", vec![inner])
    });
    let long = "a".repeat(20_000);
    let cases = [
        (
            normalizer(json!({"type": "Precompiled", "precompiled_charsmap": ""})),
            "normalizer.precompiled_charsmap",
        ),
        (
            normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            "normalizer.precompiled_charsmap",
        ),
        (
            normalizer(json!({"type": "Precompiled", "precompiled_charsmap": "/////wAA"})),
            "normalizer.precompiled_charsmap",
        ),
        (
            normalizer(charsmap(&[0], &b"x".repeat(5000))),
            "normalizer.precompiled_charsmap",
        ),
        (
            normalizer(replace(json!({"String": ""}), "x")),
            "normalizer.pattern.String",
        ),
        (
            normalizer(replace(json!({"Regex": "x*"}), "x")),
            "normalizer.pattern.Regex",
        ),
        (
            normalizer(replace(json!({"Regex": "(?<=a)b"}), "x")),
            "normalizer.pattern.Regex",
        ),
        (
            normalizer(replace(json!({"Regex": "(a{900}){900}"}), "x")),
            "normalizer.pattern.Regex",
        ),
        (
            normalizer(replace(json!({"String": "x"}), &long)),
            "normalizer.content",
        ),
        (
            normalizer(json!({"type": "Prepend", "prepend": long})),
            "normalizer.prepend",
        ),
        (
            normalizer(json!({"type": "Nonsense\u{1b}[2J"})),
            "Nonsense\\u{1b}[2J",
        ),
        (normalizer(deep), "normalizers[0].normalizers[0]"),
        (
            normalizer(sequence("normalizers", vec![json!({"type": "NFC"}); 100])),
            "normalizer.normalizers[64]",
        ),
        (normalizer(json!(vec![0; 100_000])), "16384"),
        (
            normalizer(json!({"type": "Strip", "strip_left": 1})),
            "normalizer.strip_left",
        ),
        (splits(split("(a)\\1")), "pre_tokenizer.pattern.Regex"),
        (
            splits(json!({"type": "FixedLength", "length": 0})),
            "pre_tokenizer.length",
        ),
        (
            splits(sequence(
                "pretokenizers",
                vec![json!({"type": "ByteLevel", "add_prefix_space": false}); 40],
            )),
            "pretokenizers[1]",
        ),
        (
            splits(json!({"type": "Metaspace", "replacement": "ab"})),
            "pre_tokenizer.replacement",
        ),
        (
            decoder(
                json!({"type": "Strip", "content": "x", "start": 0, "stop": 1_000_000_000_000_000_000_u64}),
            ),
            "decoder.stop",
        ),
        (
            decoder(replace(json!({"String": ""}), "x")),
            "decoder.pattern.String",
        ),
        (
            decoder(sequence(
                "decoders",
                vec![replace(json!({"String": "x"}), "xx"); 40],
            )),
            "decoder.decoders[6]",
        ),
        (
            decoder(json!({"type": "BPEDecoder", "suffix": ""})),
            "decoder.suffix",
        ),
        (
            small_with(&[("/added_tokens", added(&long, 256))]),
            "added_tokens[0].content",
        ),
        (
            small_with(&[("/added_tokens", added("", 256))]),
            "added_tokens[0].content",
        ),
        (
            small_with(&[("/added_tokens", added("<x>", 4_000_000_000))]),
            "added_tokens[0].id",
        ),
        (
            small_with(&[("/added_tokens/1/content", json!("<|endoftext|>"))]),
            "added_tokens[1].content",
        ),
        (
            small_with(&[("/model/dropout", json!(0.5))]),
            "model.dropout",
        ),
        (
            small_with(&[("/model/unk_token", json!("no such"))]),
            "model.unk_token",
        ),
        (
            small_with(&[("/model/vocab", json!({"a": 4_294_967_295_u32}))]),
            "model.vocab",
        ),
        (
            small_with(&[("/model/vocab", json!({"a": 0, "b": 0}))]),
            "model.vocab",
        ),
        (
            small_with(&[("/model/type", json!("Nonsense"))]),
            "model.type",
        ),
        (small_with(&[("/model/merges", json!(["a b c"]))]), "merge"),
        (
            small_with(&[("/model/merges", json!([["a", "no such"]]))]),
            "model",
        ),
        (
            small_with(&[
                ("/model/continuing_subword_prefix", json!("##")),
                ("/model/merges", json!([["a", "b"]])),
            ]),
            "model",
        ),
        (
            small_with(&[(
                "/model",
                json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]}),
            )]),
            "model.unk_id",
        ),
        (
            small_with(&[(
                "/model",
                json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a", 1.0]]}),
            )]),
            "model.vocab[1]",
        ),
        (
            small_with(&[(
                "/model",
                json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 1_000_000_000, "vocab": {"a": 0}}),
            )]),
            "model.max_input_chars_per_word",
        ),
        (
            small_with(&[("/model", json!({"type": "WordLevel", "vocab": {"a": 0}}))]),
            "model.unk_token",
        ),
        (small_with(&[("/version", json!("2.0"))]), "version"),
    ];
    for (json, place) in cases {
        let started = Instant::now();
        let message = load(&json).expect_err(place);
        assert!(message.contains(place), "{place}: {message}");
        assert!(message.contains("tokenizer.json"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(message.len() < 1000, "{message}");
        assert!(
            started.elapsed() < PATIENCE,
            "{place}: {:?}",
            started.elapsed()
        );
    }
}

/// Every one of these can be read; a text is then encoded in time linear in it, or refused.
#[test]
fn hostile_steps_stay_within_time_and_memory() {
    let before = peak_memory();
    let forty = vec![replace(json!({"String": "x"}), "xx"); 40];
    let mut cyclic = vec![0u32; 256];
    cyclic[usize::from(b'x')] = u32::from(b'x') | u32::from(b'x') << 10;
    let cases = [
        (
            "forty replacements",
            small_with(&[("/normalizer", sequence("normalizers", forty))]),
        ),
        (
            "NFKD again and again",
            small_with(&[(
                "/normalizer",
                sequence("normalizers", vec![json!({"type": "NFKD"}); 60]),
            )]),
        ),
        (
            "bytes of bytes",
            small_with(&[(
                "/normalizer",
                sequence("normalizers", vec![json!({"type": "ByteLevel"}); 60]),
            )]),
        ),
        (
            "rules in a ring",
            small_with(&[("/normalizer", charsmap(&cyclic, b"x\0"))]),
        ),
        ("(a+)+$", small_with(&[("/pre_tokenizer", split("(x+)+$"))])),
        (
            "many words",
            small_with(&[("/pre_tokenizer", split("(?:x?){30}x{30}"))]),
        ),
        (
            "prefixes",
            small_with(&[(
                "/pre_tokenizer",
                sequence(
                    "pretokenizers",
                    vec![json!({"type": "Metaspace", "replacement": "x"}); 30],
                ),
            )]),
        ),
        (
            "fixed lengths",
            small_with(&[(
                "/pre_tokenizer",
                json!({"type": "FixedLength", "length": 1}),
            )]),
        ),
        (
            "long added token",
            small_with(&[("/added_tokens", added(&"x".repeat(2000), 256))]),
        ),
        (
            "strip",
            small_with(&[(
                "/decoder",
                json!({"type": "Strip", "content": "x", "start": 3, "stop": 3}),
            )]),
        ),
        (
            "word ends",
            small_with(&[("/decoder", json!({"type": "BPEDecoder", "suffix": "x"}))]),
        ),
        (
            "no tokens at all",
            small_with(&[("/model/vocab", json!({})), ("/added_tokens", json!([]))]),
        ),
        (
            "nested pieces",
            small_with(&[
                ("/added_tokens", json!([])),
                ("/pre_tokenizer", Value::Null),
                (
                    "/model",
                    json!({
            "type": "Unigram", "unk_id": 0, "vocab": (1..=256).map(|n| json!(["x".repeat(n), -1.0])).collect::<Vec<_>>()}),
                ),
            ]),
        ),
        (
            "long words",
            small_with(&[
                ("/added_tokens", json!([])),
                ("/pre_tokenizer", Value::Null),
                (
                    "/model",
                    json!({
            "type": "WordPiece", "unk_token": "x", "continuing_subword_prefix": "##", "max_input_chars_per_word": 256, "vocab": {"x": 0, "##x": 1}}),
                ),
            ]),
        ),
    ];
    let texts = [
        "x".repeat(20_000),
        "é\u{fdfa} x".repeat(2_000),
        String::new(),
        " ".repeat(20_000),
    ];
    for (what, json) in cases {
        let started = Instant::now();
        let tokenizer = load(&json).expect(what);
        for text in &texts {
            match tokenizer.encode(text) {
                Ok(ids) => {
                    let decoded = tokenizer.decode(&ids);
                    assert!(decoded.len() <= 64 * 8 * (text.len() + 64), "{what}");
                }
                Err(error) => assert!(
                    error.to_string().contains("tokenizer.json"),
                    "{what}: {error}"
                ),
            }
        }
        tokenizer.decode(&[]);
        tokenizer.decode(&(0..500).collect::<Vec<_>>());
        assert!(
            started.elapsed() < PATIENCE,
            "{what}: {:?}",
            started.elapsed()
        );
    }
    let used = peak_memory().saturating_sub(before);
    assert!(used < 1500 * MIB, "{} MiB", used / MIB);
}

#[test]
fn a_normalizer_that_makes_too_much_is_named() {
    let forty = vec![replace(json!({"String": "x"}), "xx"); 40];
    let tokenizer = load(&small_with(&[(
        "/normalizer",
        sequence("normalizers", forty),
    )]))
    .unwrap();
    let message = tokenizer.encode(&"x".repeat(100)).unwrap_err().to_string();
    assert!(message.contains("normalizer.normalizers[6]"), "{message}");
    // The refusal is of that text alone.
    assert!(tokenizer.encode("y").is_ok());
}

/// Lengths are the caller's: the published tools ignore both as well.
#[test]
fn truncation_and_padding_have_no_effect() {
    let plain = load(&small_with(&[])).unwrap();
    for (truncation, padding) in [
        (
            json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}),
            Value::Null,
        ),
        (
            json!({"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 9}),
            Value::Null,
        ),
        (
            Value::Null,
            json!({"strategy": {"Fixed": 10_000_000_000_u64}, "direction": "Right", "pad_to_multiple_of": null,
                             "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}),
        ),
        (json!(7), json!("nonsense")),
    ] {
        let json = small_with(&[("/truncation", truncation), ("/padding", padding)]);
        let tokenizer = load(&json).unwrap();
        assert_eq!(
            tokenizer.encode("hello world").unwrap(),
            plain.encode("hello world").unwrap()
        );
    }
}

#[test]
fn a_missing_special_token_names_the_file() {
    let tokenizer = load(&small_with(&[("/added_tokens", json!([]))])).unwrap();
    let message = tokenizer
        .require(SpecialToken::GMask)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("tokenizer.json") && message.contains("[gMASK]"),
        "{message}"
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let tokenizer = load(&small_with(&[])).unwrap();
    let config = |words: usize| {
        let json = format!(
            r#"{{"model_type": "chatglm", "padded_vocab_size": {words}, "hidden_size": 64, "num_layers": 1,
                "num_attention_heads": 4, "kv_channels": 16, "ffn_hidden_size": 96}}"#
        );
        ModelConfig::from_json(&json, Path::new("config.json")).unwrap()
    };
    let size = tokenizer.vocab_size();
    let dir = Path::new("model");
    assert!(tokenizer.check_fits(&config(size), dir).is_ok());
    let error = tokenizer.check_fits(&config(size - 1), dir).unwrap_err();
    let message = error.to_string();
    for part in ["model/config.json", "padded_vocab_size", "tokenizer.json"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn settings_are_checked() {
    let ranks: String = (0..256u32)
        .map(|byte| {
            use base64::Engine;
            let token = base64::engine::general_purpose::STANDARD.encode([byte as u8]);
            format!("{token} {byte}\n")
        })
        .collect();
    let token = |name: &str| json!({"content": name});
    for (settings, what) in [
        (json!({"pad_token": 5}), "a token"),
        (json!({"pad_token": "a\u{1b}b"}), "a\\u{1b}b"),
        (json!({"additional_special_tokens": "x"}), "sequence"),
        (
            json!({"added_tokens_decoder": {"256": token("")}}),
            "added_tokens_decoder.256",
        ),
        (
            json!({"added_tokens_decoder": {"256": token("x"), "257": token("x")}}),
            "added_tokens_decoder.257",
        ),
        (
            json!({"added_tokens_decoder": {"256": token("x"), "0256": token("y")}}),
            "added_tokens_decoder",
        ),
        (
            json!({"added_tokens_decoder": {"256": token("x"), "4000000": token("y")}}),
            "added_tokens_decoder.4000000",
        ),
        (
            json!({"added_tokens_decoder": {"256": token("x"), "\u{1b}": token("y")}}),
            "\\u{1b}",
        ),
        (json!({"added_tokens_decoder": {"256": {}}}), "content"),
    ] {
        let settings = settings.to_string();
        let dir = folder(&[
            ("tokenizer.model", ranks.as_bytes()),
            ("tokenizer_config.json", settings.as_bytes()),
        ]);
        let message = Tokenizer::from_dir(dir.path(), None)
            .unwrap_err()
            .to_string();
        assert!(message.contains(what), "{what}: {message}");
        assert!(message.contains("tokenizer_config.json"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
    }
    let long = format!("{ranks}{} 256\n", "YWFh".repeat(20_000));
    let dir = folder(&[("tokenizer.model", long.as_bytes())]);
    let message = Tokenizer::from_dir(dir.path(), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("line 257"), "{message}");
}

#[test]
fn image_tokens_have_a_limit() {
    let piece = |text: &str, kind: u8| {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.as_bytes());
        piece.extend([0x15, 0, 0, 0, 0, 0x18, kind]);
        [vec![0x0a, piece.len() as u8], piece].concat()
    };
    // Unigram, an unknown piece and one more.
    let model = [vec![0x12, 2, 0x18, 1], piece("<unk>", 2), piece("a", 1)].concat();
    let load = |images: u32| {
        let settings = json!({"num_image_tokens": images}).to_string();
        let dir = folder(&[
            ("ice_text.model", &model),
            ("tokenizer_config.json", settings.as_bytes()),
        ]);
        Tokenizer::from_dir(dir.path(), None).map_err(|error| error.to_string())
    };
    assert_eq!(load(20_000).unwrap().vocab_size(), 20_002);
    let message = load(4_000_000_000).unwrap_err();
    assert!(message.contains("num_image_tokens"), "{message}");
}

/// Two bytes of a file become many in memory, so pieces are counted first.
#[test]
fn a_file_of_empty_pieces_is_refused_before_it_is_built() {
    let before = peak_memory();
    let dir = folder(&[("tokenizer.model", &[0x0a, 0].repeat(8 << 20))]);
    let message = Tokenizer::from_dir(dir.path(), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("pieces"), "{message}");
    let used = peak_memory().saturating_sub(before);
    assert!(used < 1500 * MIB, "{} MiB", used / MIB);
}

/// Sound files of the kinds that are published.
fn sound() -> Vec<Value> {
    let glm4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [
        ["<unk>", 0.0], ["▁", -2.0], ["a", -1.0], ["b", -1.5], ["ab", -1.2], ["▁a", -1.1], ["好", -3.0], [".", -2.5]]});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
        "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "▁": 4, "▁a": 5, "aa": 6}, "merges": ["a b", "▁ a", "a a"]});
    let word_piece = json!({"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"?": 0, "a": 1, "##a": 2, "##b": 3, "b": 4, ".": 5, "ab": 6}});
    let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    let llama = sequence(
        "normalizers",
        vec![
            json!({"type": "Prepend", "prepend": "▁"}),
            replace(json!({"String": " "}), "▁"),
        ],
    );
    let llama_decoder = sequence(
        "decoders",
        vec![
            replace(json!({"String": "▁"}), " "),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
            json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}),
        ],
    );
    let spaces = sequence(
        "normalizers",
        vec![
            json!({"type": "NFKC"}),
            replace(json!({"Regex": " {2,}"}), " "),
            json!({"type": "Strip", "strip_left": false, "strip_right": true}),
            json!({"type": "Nmt"}),
            json!({"type": "StripAccents"}),
        ],
    );
    let extra = json!([{"id": 8, "content": "<x>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": false},
                       {"id": 9, "content": "B a", "single_word": false, "lstrip": false, "rstrip": true, "normalized": true, "special": false},
                       {"id": 10, "content": "<|user|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
    let seven = |extra: &Value| {
        let mut extra = extra.clone();
        for (at, token) in extra.as_array_mut().unwrap().iter_mut().enumerate() {
            token["id"] = json!(7 + at);
        }
        extra
    };
    vec![
        small_with(&[]),
        small_with(&[
            (
                "/pre_tokenizer",
                sequence("pretokenizers", vec![split(glm4), bytes]),
            ),
            ("/normalizer", json!({"type": "NFC"})),
        ]),
        small_with(&[("/pre_tokenizer", gpt2)]),
        small_with(&[
            ("/model", unigram),
            ("/pre_tokenizer", metaspace.clone()),
            ("/decoder", metaspace),
            ("/added_tokens", extra.clone()),
            ("/normalizer", spaces),
        ]),
        small_with(&[
            ("/model", bpe),
            ("/pre_tokenizer", Value::Null),
            ("/normalizer", llama),
            ("/decoder", llama_decoder),
            ("/added_tokens", seven(&extra)),
        ]),
        small_with(&[
            ("/model", word_piece),
            ("/pre_tokenizer", json!({"type": "BertPreTokenizer"})),
            ("/normalizer", bert),
            (
                "/decoder",
                json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            ),
            ("/added_tokens", seven(&extra)),
        ]),
    ]
}

proptest! {
    #[test]
    fn sound_files_give_what_the_crate_gives(
        text in "([abAB .,?!\n\t'▁é好0-9]|<x>|B a|<\\|user\\|>|'s| {2,4}|\u{e9}\u{301}){0,30}",
        which in 0usize..6,
    ) {
        let json = &sound()[which];
        let ours = load(json).unwrap();
        let mut theirs = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
        theirs.set_encode_special_tokens(true);
        let expected = theirs.encode_fast(text.as_str(), false).unwrap();
        let ids = ours.encode(&text).unwrap();
        prop_assert_eq!(&ids, expected.get_ids(), "{:?}", text);
        prop_assert_eq!(ours.decode(&ids), theirs.decode(&ids, true).unwrap());
    }
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most.max(1)
    }
}

/// Loads the files and uses what loads.
fn survive(files: &[(&str, &[u8])]) {
    let dir = folder(files);
    let started = Instant::now();
    match Tokenizer::find(dir.path(), None) {
        Ok(Some(tokenizer)) => {
            let ids = tokenizer.encode("ab  x\n\t你好<|user|> 12345 👍 [gMASK]");
            tokenizer.decode(&ids.unwrap_or_default());
            let mut stream = tokenizer.decode_stream();
            for id in [0, 1, 5, 200, 65_000, u32::MAX] {
                stream.push(id);
            }
            stream.finish();
        }
        Ok(None) => {}
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.contains("token") || message.contains("ice_text"),
                "{message}"
            );
            assert!(
                !message.contains(|c: char| c.is_control() && c != '\n'),
                "{message:?}"
            );
        }
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

fn damage(numbers: &mut Numbers, bytes: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    match numbers.below(4) {
        0 => damaged.truncate(numbers.below(bytes.len())),
        1 => {
            let from = numbers.below(bytes.len());
            let length = numbers.below(64);
            let part: Vec<u8> = damaged.iter().skip(from).take(length).copied().collect();
            let to = numbers.below(bytes.len());
            damaged.splice(to..to, part);
        }
        _ => {
            for _ in 0..=numbers.below(20) {
                let at = numbers.below(damaged.len());
                damaged[at] = numbers.below(256) as u8;
            }
        }
    }
    damaged
}

/// Changes a value somewhere inside of `json`.
fn mutate(numbers: &mut Numbers, json: &mut Value) {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e308),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("x"),
        json!("\u{0}\u{1b}"),
        json!("(a+)+$"),
        json!("a".repeat(3000)),
        json!([]),
        json!({}),
        json!([[], {}]),
        json!({"type": "Sequence"}),
        json!({"type": "NFKC"}),
        json!({"String": ""}),
        json!({"Regex": "(?=a)"}),
    ];
    match json {
        Value::Object(fields) if !fields.is_empty() && numbers.below(6) > 0 => {
            let at = numbers.below(fields.len());
            let value = fields.values_mut().nth(at).unwrap();
            mutate(numbers, value);
        }
        Value::Array(items) if !items.is_empty() && numbers.below(4) > 0 => {
            let at = numbers.below(items.len());
            match numbers.below(5) {
                0 => items.push(items[at].clone()),
                1 => {
                    items.remove(at);
                }
                _ => mutate(numbers, &mut items[at]),
            }
        }
        value => *value = odd[numbers.below(odd.len())].clone(),
    }
}

#[test]
fn damaged_small_files_do_no_harm() {
    let mut numbers = Numbers(11);
    let jsons: Vec<String> = sound().iter().map(Value::to_string).collect();
    let (_, settings) = small_tokenizer(Mode::Glm3);
    for _ in 0..1500 {
        let json = &jsons[numbers.below(jsons.len())];
        survive(&[("tokenizer.json", &damage(&mut numbers, json.as_bytes()))]);
        let settings = damage(&mut numbers, settings.as_bytes());
        survive(&[
            ("tokenizer.json", json.as_bytes()),
            ("tokenizer_config.json", &settings),
        ]);
        let mut json: Value = serde_json::from_str(json).unwrap();
        (0..=numbers.below(3)).for_each(|_| mutate(&mut numbers, &mut json));
        survive(&[("tokenizer.json", json.to_string().as_bytes())]);
    }
}

/// The published files, where they are there.
#[test]
fn damaged_published_files_do_no_harm() {
    let mut numbers = Numbers(12);
    let shared: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tokenizers");
    for family in ["chatglm-6b", "chatglm2-6b", "chatglm3-6b", "glm-4-9b-chat"] {
        let read = |name: &str| fs::read(shared.join(family).join(name)).ok();
        let names = ["ice_text.model", "tokenizer.model"];
        let model = names.into_iter().find_map(|name| Some((name, read(name)?)));
        let (Some((name, model)), Some(settings)) = (model, read("tokenizer_config.json")) else {
            eprintln!("skipped: {family} is not in {}", shared.display());
            continue;
        };
        for round in 0..12 {
            let (mut first, mut second) = (model.clone(), settings.clone());
            match round % 3 {
                0 => second = damage(&mut numbers, &settings),
                _ => first = damage(&mut numbers, &model),
            }
            survive(&[(name, &first), ("tokenizer_config.json", &second)]);
        }
    }
}

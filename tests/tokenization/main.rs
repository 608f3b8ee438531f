//! Token ids, decoded texts, training rows and prompts against those of the published tokenizers.
//!
//! The published tokenizer files are too large for the repository: these tests look for them in
//! `../shared/tokenizers` and are reported as skipped where they are not.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use glmtune::model::rows::{LayoutLimits, RowFormat, lay_out_all, read_rows};
use glmtune::model::tokenizer::{Message, Mode, PromptFormat, Role, Tokenizer};
use serde_json::Value;

mod malformed;

const FAMILIES: [(&str, &str, Mode); 4] = [
    ("chatglm", "chatglm-6b", Mode::Glm),
    ("chatglm2", "chatglm2-6b", Mode::Glm2),
    ("chatglm3", "chatglm3-6b", Mode::Glm3),
    ("glm4", "glm-4-9b-chat", Mode::Glm4),
];

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path)
}

fn tokenizer(directory: &str) -> Option<Tokenizer> {
    let dir = shared("tokenizers").join(directory);
    if !dir.exists() {
        eprintln!("skipped: {} is not there", dir.display());
        return None;
    }
    Some(Tokenizer::from_dir(&dir, None).unwrap())
}

fn json(path: &str) -> Value {
    let path = shared("golden/tokenization").join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn modes_are_told_by_the_files() {
    for (_, directory, mode) in FAMILIES {
        let Some(tokenizer) = tokenizer(directory) else {
            return;
        };
        assert_eq!(tokenizer.mode(), mode);
    }
}

/// ChatGLM2 and ChatGLM3 have the same file: the mode decides which special tokens follow its pieces.
#[test]
fn a_given_mode_decides() {
    let dir = shared("tokenizers/chatglm2-6b");
    if tokenizer("chatglm2-6b").is_none() {
        return;
    }
    let tokenizer = Tokenizer::from_dir(&dir, Some(Mode::Glm3)).unwrap();
    assert_eq!(
        (tokenizer.mode(), tokenizer.vocab_size()),
        (Mode::Glm3, 64_798)
    );
}

/// A file of ranks that was cut short between two lines.
#[test]
fn truncated_ranks_are_refused() {
    let from = shared("tokenizers/glm-4-9b-chat");
    if tokenizer("glm-4-9b-chat").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        from.join("tokenizer_config.json"),
        dir.path().join("tokenizer_config.json"),
    )
    .unwrap();
    let ranks = fs::read_to_string(from.join("tokenizer.model")).unwrap();
    let kept: Vec<&str> = ranks.lines().take(120_000).collect();
    fs::write(dir.path().join("tokenizer.model"), kept.join("\n")).unwrap();
    let message = Tokenizer::from_dir(dir.path(), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("added_tokens_decoder"), "{message}");
}

#[test]
fn strings() {
    for (family, directory, _) in FAMILIES {
        let Some(tokenizer) = tokenizer(directory) else {
            return;
        };
        for case in json(&format!("{family}.strings.json")).as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let expected = ids(&case["ids"]);
            assert_eq!(
                tokenizer.encode(text).unwrap(),
                expected,
                "{family}: {text:?}"
            );
            let decoded = tokenizer.decode(&expected);
            assert_eq!(
                decoded,
                case["decoded"].as_str().unwrap(),
                "{family}: decoding {text:?}"
            );
            let mut stream = tokenizer.decode_stream();
            let mut streamed: String = expected.iter().filter_map(|&id| stream.push(id)).collect();
            streamed.extend(stream.finish());
            assert_eq!(streamed, decoded, "{family}: streaming {text:?}");
        }
    }
}

#[test]
fn prompts() {
    for (family, directory, mode) in FAMILIES {
        let Some(tokenizer) = tokenizer(directory) else {
            return;
        };
        for case in json("chat.json").as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_string();
            let mut messages = Vec::new();
            for turn in case["history"].as_array().unwrap() {
                messages.push(Message::new(Role::User, text(&turn[0])));
                messages.push(Message::new(Role::Assistant, text(&turn[1])));
            }
            messages.push(Message::new(Role::User, text(&case["query"])));
            let prompt = tokenizer
                .chat_prompt(mode, PromptFormat::Published, &messages)
                .unwrap();
            assert_eq!(prompt.ids, ids(&case[family]["ids"]), "{family}");
            if let Some(expected) = case[family].get("prompt") {
                assert_eq!(prompt.text.as_deref(), expected.as_str(), "{family}");
            }
        }
    }
}

/// The layouts of chatglm, chatglm2 and chatglm3 for several limits: the first 40 rows in full, a digest
/// of all 400.
#[test]
fn training_rows() {
    for (family, directory, mode) in &FAMILIES[..3] {
        let Some(tokenizer) = tokenizer(directory) else {
            return;
        };
        let golden = json(&format!("{family}.dataset.json"));
        let cases = golden["cases"].as_object().unwrap().iter();
        for (name, expected) in cases.filter(|(name, _)| !name.ends_with("/all")) {
            let mut parts = name.split(['/', '=']);
            let file = parts.next().unwrap();
            let values: Vec<&str> = parts.skip(1).step_by(2).collect();
            let limits = LayoutLimits {
                max_len: values[0].parse().unwrap(),
                max_src_len: values[1].parse().unwrap(),
            };
            let path = shared(&format!("data/{file}.json"));
            let rows = read_rows(&path, &RowFormat::default()).unwrap().rows;
            let rows = rows.iter().take(400).map(|numbered| &numbered.row);
            let skip = values[2] == "True";
            let (found, _) = lay_out_all(rows, Some(&tokenizer), *mode, limits, skip).unwrap();
            for (row, expected) in found.iter().zip(expected.as_array().unwrap()) {
                assert_eq!(
                    row.input_ids,
                    ids(&expected["input_ids"]),
                    "{family}: {name}"
                );
                let ignored = row.labels.iter().filter(|&&label| label == -100).count();
                assert_eq!(
                    ignored as u64,
                    expected["context"].as_u64().unwrap(),
                    "{family}: {name}"
                );
            }
            check_digest(name, &found, &golden["cases"][&format!("{name}/all")]);
        }
    }
}

fn check_digest(name: &str, found: &[glmtune::model::rows::TrainingRow], expected: &Value) {
    use sha2::{Digest, Sha256};

    let pairs: Vec<_> = found
        .iter()
        .map(|row| (&row.input_ids, &row.labels))
        .collect();
    let digest = Sha256::digest(serde_json::to_vec(&pairs).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = expected.to_string();
    assert!(
        text.contains(&digest[..16]),
        "{name}: {} rows, {} not in {text}",
        found.len(),
        &digest[..16]
    );
}

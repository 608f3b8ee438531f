//! Tokenizer files that are damaged or hostile: an error that names the file, or a tokenizer; never a panic.

use std::fs;

use glmtune::model::tokenizer::Tokenizer;
use proptest::prelude::*;

use crate::{FAMILIES, shared};

const NAMES: [&str; 4] = [
    "ice_text.model",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Loads a directory of these files, and uses what loads.
fn load(files: &[(&str, &[u8])]) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    match Tokenizer::find(dir.path(), None) {
        Ok(Some(tokenizer)) => use_it(&tokenizer),
        Ok(None) => {}
        Err(error) => {
            let message = error.to_string();
            assert!(NAMES.iter().any(|name| message.contains(name)), "{message}");
        }
    }
}

fn use_it(tokenizer: &Tokenizer) {
    let ids = tokenizer
        .encode("a  b\n\t你好<|user|> 12345 👍")
        .unwrap_or_default();
    tokenizer.decode(&ids);
    let mut stream = tokenizer.decode_stream();
    for id in [0, 1, 5, 200, 65_000, 151_000, u32::MAX] {
        stream.push(id);
    }
    stream.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(which in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        load(&[(NAMES[which], &bytes)]);
    }

    /// Text that looks like ranks, or like JSON.
    #[test]
    fn almost_ranks(text in "([A-Za-z0-9+/=]{0,6} ?[0-9]{0,12}\n){0,20}", which in 0usize..4) {
        load(&[(NAMES[which], text.as_bytes())]);
    }

    #[test]
    fn almost_settings(text in r#"\{("(added_tokens_decoder|num_image_tokens|pad_token|do_lower_case)": (-?[0-9]{1,12}|null|\{"7": \{"content": "x"\}\}|true|"<x>"),?){0,4}\}"#) {
        load(&[("tokenizer_config.json", text.as_bytes()), ("tokenizer.model", b"YQ== 0\n")]);
    }
}

/// Published files with a few bytes changed or the end cut off.
#[test]
fn damaged_published_files() {
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for (_, directory, _) in FAMILIES {
        let dir = shared("tokenizers").join(directory);
        for name in NAMES.into_iter().filter(|name| dir.join(name).exists()) {
            let bytes = fs::read(dir.join(name)).unwrap();
            for round in 0..6 {
                let mut damaged = bytes.clone();
                match round % 2 {
                    0 => damaged.truncate(random(bytes.len())),
                    _ => (0..20).for_each(|_| damaged[random(bytes.len())] = random(256) as u8),
                }
                let model = NAMES[..2].iter().find(|other| dir.join(other).exists());
                let model = model.map(|model| (*model, fs::read(dir.join(model)).unwrap()));
                let mut files: Vec<(&str, &[u8])> = vec![(name, &damaged)];
                if let Some((model, bytes)) = model.as_ref().filter(|(model, _)| *model != name) {
                    files.push((model, bytes));
                }
                load(&files);
            }
        }
    }
}

//! The examples for library users do what they say, on a tiny model.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../examples/chat.rs"]
mod chat;
#[allow(dead_code)]
#[path = "../../examples/finetune.rs"]
mod finetune;

use std::fs;
use std::path::Path;

use burn_flex::Flex;
use glmtune::prelude::*;

fn tiny(dir: &Path) {
    let settings = InitSettings {
        mode: Some(Mode::Glm2),
        ..InitSettings::new(Preset::Tiny)
    };
    init::<Flex>(dir, &settings, &mut |_, _| ()).unwrap();
}

fn answer(source: ModelSource) -> String {
    let mut answer = String::new();
    chat::ask(source, "Name the capital of Greece", &mut |text| {
        answer.push_str(text);
    })
    .unwrap();
    answer
}

#[test]
fn a_model_is_tuned_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let [model, output] = ["model", "output"].map(|name| folder.path().join(name));
    tiny(&model);
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quick-start.jsonl");

    let outcome = finetune::finetune(&model, &rows, &output).unwrap();
    assert!(outcome.steps >= 3 && !outcome.interrupted, "{outcome:?}");
    assert_eq!(outcome.saved_steps, outcome.steps);
    let adapter = outcome.output.unwrap();
    assert!(adapter.join("adapter_model.safetensors").is_file());
    assert!(output.join("checkpoint").is_dir());
    // The lock went with the training.
    drop(OutputDir::open(&output).unwrap());

    let base = answer(ModelSource::new(&model));
    assert_eq!(base, answer(ModelSource::new(&model)));
    let tuned = answer(ModelSource::new(&model).with_adapter(&adapter));
    assert_ne!(base, tuned);
    // An adapter is refused on other weights.
    let other = folder.path().join("other");
    let settings = InitSettings {
        mode: Some(Mode::Glm2),
        seed: 5,
        ..InitSettings::new(Preset::Tiny)
    };
    init::<Flex>(&other, &settings, &mut |_, _| ()).unwrap();
    let source = ModelSource::new(&other).with_adapter(&adapter);
    assert!(chat::ask(source, "?", &mut |_| ()).is_err());
}

/// What a library user copies stays a page.
#[test]
fn the_examples_are_short() {
    for name in ["finetune", "chat"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
    }
}

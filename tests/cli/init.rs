//! `init` and `inspect`.

use std::path::Path;

use glmtune::model::checkpoint::Checkpoint;

use crate::common::golden;
use crate::{glmtune, tiny};

#[test]
fn every_family_is_made_complete_and_inspected() {
    for mode in ["glm", "glm2", "glm3", "glm4"] {
        let (_dir, model) = tiny(mode);
        for name in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors.index.json",
            "model-00001-of-00001.safetensors",
        ] {
            assert!(Path::new(&model).join(name).is_file(), "{mode}: no {name}");
        }
        let report = glmtune(&["inspect", &model, "--json"]).success();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["mode"], mode);
        let checkpoint = Checkpoint::open(Path::new(&model)).unwrap();
        let elements: usize = checkpoint.entries().map(|info| info.elements()).sum();
        assert_eq!(report["parameters"], elements);
    }
}

#[test]
fn equal_seeds_make_equal_models() {
    let read =
        |model: &str| std::fs::read(Path::new(model).join("model-00001-of-00001.safetensors"));
    let ((_a, first), (_b, second)) = (tiny("glm2"), tiny("glm2"));
    assert_eq!(read(&first).unwrap(), read(&second).unwrap());
}

#[test]
fn an_existing_directory_is_left_alone() {
    let (_dir, model) = tiny("glm2");
    let message = glmtune(&["init", "--preset", "tiny", "--output", &model]).failure(2);
    assert!(message.contains(&model), "{message}");
}

#[test]
fn shards_keep_to_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m").to_str().unwrap().to_string();
    let args = [
        "init",
        "--preset=tiny",
        "--output",
        &model,
        "--dtype=bf16",
        "--max_shard_size=100KB",
    ];
    glmtune(&args).success();
    let checkpoint = Checkpoint::open(Path::new(&model)).unwrap();
    assert!(checkpoint.files().count() > 1);
    for file in checkpoint.files() {
        assert!(std::fs::metadata(file).unwrap().len() < 110_000);
    }
    let prompt = [
        "generate",
        "--backend=flex",
        "--prompt=a",
        "--max_new_tokens=2",
    ];
    let prompt = [&prompt[..], &["--model_name_or_path", &model]].concat();
    glmtune(&prompt).success();
}

#[test]
fn adapters_are_inspected() {
    let dir = golden("chatglm2").join("lora_all");
    let report = glmtune(&["inspect", dir.to_str().unwrap(), "--json"]).success();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["rank"], 4);
    assert_eq!(report["modules"], 12);
}

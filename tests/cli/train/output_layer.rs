//! LoRA on every linear layer, which for ChatGLM2 and later includes the output layer.

use std::path::{Path, PathBuf};

use glmtune::model::adapters::{LoraAdapter, LoraConfig, TargetModules};

use super::column;
use crate::{file, glmtune, tiny};

/// Trains on every linear layer; gives the output directory.
fn train(dir: &tempfile::TempDir, model: &str, name: &str, more: &[&str]) -> PathBuf {
    let all = ["--lora_module_name=all-linear"];
    train_modules(dir, model, name, &[&all[..], more].concat())
}

/// Trains; gives the output directory.
fn train_modules(dir: &tempfile::TempDir, model: &str, name: &str, more: &[&str]) -> PathBuf {
    let rows: String = (0..8)
        .map(|n| {
            format!(
                "{{\"instruction\": \"{n}\", \"input\": \"\", \"output\": \"{}\"}}\n",
                n * n
            )
        })
        .collect();
    let rows = file(dir, "rows.jsonl", &rows);
    let output = dir.path().join(name);
    let args = ["train", "--backend=flex", "--dtype=f32", "--no_cache"];
    let course = ["--train_batch_size=2", "--learning_rate=1e-2"];
    let paths = ["--model_name_or_path", model, "--train_path", &rows];
    let place = ["--output_dir", output.to_str().unwrap()];
    glmtune(&[&args[..], &course, &paths, &place, more].concat()).success();
    output
}

fn adapter(output: &Path) -> String {
    output.join("epoch-1-step-4").to_str().unwrap().to_string()
}

fn losses(model: &str, rows: &str, more: &[&str]) -> Vec<f64> {
    let args = ["score", "--backend=flex", "--dtype=f32", "--data", rows];
    let run = glmtune(&[&args[..], &["--model_name_or_path", model], more].concat());
    let lines = run.json_lines().into_iter();
    lines.filter_map(|line| line["loss"].as_f64()).collect()
}

#[test]
fn all_linear_is_what_peft_means_by_it() {
    for (mode, head, is_adapted) in [
        ("glm", "lm_head", false),
        ("glm2", "transformer.output_layer", true),
        ("glm4", "transformer.output_layer", true),
    ] {
        let (dir, model) = tiny(mode);
        let output = adapter(&train(&dir, &model, "out", &[]));
        let found = LoraAdapter::open(Path::new(&output)).unwrap();
        let modules: Vec<_> = found.pairs().iter().map(|pair| &pair.module).collect();
        assert_eq!(
            modules.iter().any(|module| *module == head),
            is_adapted,
            "{modules:?}"
        );
        let TargetModules::Names(names) =
            LoraConfig::read(Path::new(&output)).unwrap().target_modules
        else {
            panic!("PEFT saves names");
        };
        assert_eq!(names.contains(&"output_layer".to_string()), is_adapted);
        assert_eq!(names.len(), if is_adapted { 5 } else { 4 });
        // Trained, and merged to the same model.
        let rows = dir.path().join("rows.jsonl");
        let rows = rows.to_str().unwrap();
        let merged = dir.path().join("merged");
        let merged = merged.to_str().unwrap();
        let bases = ["merge", "--ori_model_dir", &model, "--model_dir", &output];
        glmtune(&[&bases[..], &["--output_dir", merged]].concat()).success();
        let with_adapter = losses(&model, rows, &["--adapter", &output]);
        assert_ne!(losses(&model, rows, &[]), with_adapter);
        for (a, b) in losses(merged, rows, &[]).iter().zip(&with_adapter) {
            assert!((a - b).abs() < 1e-4, "{mode}: {a} {b}");
        }
    }
}

#[test]
fn every_way_trains_the_output_layer_alike() {
    let (dir, model) = tiny("glm2");
    let plain = train(&dir, &model, "plain", &[]);
    let expected = column(&plain, "loss");
    assert_eq!(expected.len(), 4);
    for (name, more) in [
        ("checkpointed", &["--gradient_checkpointing"][..]),
        ("offloaded", &["--offload_param", "--offload_optimizer"]),
        ("staged", &["--pipeline_stages=2"]),
    ] {
        let found = column(&train(&dir, &model, name, more), "loss");
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{name}: {found:?} {expected:?}");
        }
    }
    // An adapter of ours is where a training can start.
    let more = ["--adapter", &adapter(&plain), "--num_train_epochs=1"];
    let found = column(&train(&dir, &model, "again", &more), "loss");
    assert!(found[0] < expected[0], "{found:?} {expected:?}");
}

#[test]
fn the_output_layer_can_be_named() {
    let (dir, model) = tiny("glm");
    let output = train_modules(&dir, &model, "out", &["--lora_module_name=lm_head"]);
    let found = LoraAdapter::open(Path::new(&adapter(&output))).unwrap();
    assert_eq!(found.pairs().len(), 1);
    assert_eq!(found.pairs()[0].module, "lm_head");
}

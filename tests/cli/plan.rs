//! What is said of a training before it starts: `inspect --plan` and `train --dry_run`.

use std::path::Path;

use serde_json::Value;

use crate::common::golden;
use crate::{file, glmtune, tiny};

fn plan(model: &str, more: &[&str]) -> Value {
    let report = glmtune(&[&["inspect", model, "--plan", "--json"], more].concat()).success();
    serde_json::from_str(&report).unwrap()
}

#[test]
fn a_plan_is_of_what_train_would_do() {
    let (dir, model) = tiny("glm2");
    // The defaults of `train`: LoRA of rank 8, 16 rows of 1024 tokens, the published type.
    let found = plan(&model, &[]);
    let training = &found["plan of lora, f32"];
    assert_eq!(training["batch"], 16, "{found}");
    assert_eq!(training["longest row"], 1024);
    // A whole command line of `train`, and its files.
    let ds = file(
        &dir,
        "ds.json",
        r#"{"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}"#,
    );
    let config = file(
        &dir,
        "run.toml",
        "lora_dim = 4\nmax_len = 100\nmax_src_len = 40\n",
    );
    let line = ["--model_name_or_path", &model, "--train_path", "r"];
    let more = ["--output_dir", "o", "--lora_module_name", "dense"];
    let files = ["--ds_file", &ds, "--config", &config, "--no_dashboard"];
    let found = plan(&model, &[&line[..], &more, &files].concat());
    let training = &found["plan of lora, f32"];
    assert_eq!(training["longest row"], 100);
    assert_eq!(training["device"]["moments"], 0, "{found}");
    let offers = training["what would lower the device's"]
        .as_object()
        .unwrap();
    assert!(!offers.contains_key("--offload_optimizer"), "{found}");
}

#[test]
fn people_read_sizes_in_one_unit() {
    let (_dir, model) = tiny("glm2");
    let report = glmtune(&["inspect", &model, "--plan"]).success();
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let used = units.iter().filter(|unit| report.contains(**unit)).count();
    assert_eq!(used, 1, "{report}");
}

#[test]
fn a_plan_of_nothing_is_refused() {
    let (_dir, model) = tiny("glm2");
    // `train` refuses it as well: a tiny model has no block 27.
    let args = ["inspect", &model, "--plan", "--train_type", "freeze"];
    assert!(
        glmtune(&args)
            .failure(2)
            .contains("nothing would be trained")
    );
}

#[test]
fn a_prefix_directory_shows_its_prefix() {
    let dir = crate::common::fixtures::prefix_directory(&golden("chatglm2"), "prefix");
    let report = glmtune(&["inspect", dir.path().to_str().unwrap(), "--json"]).success();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["prefix"]["pre_seq_len"].as_u64().unwrap() > 0);
    assert!(report["tensors"].is_null());
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_shows_the_training_and_writes_nothing() {
    let (dir, model) = tiny("glm2");
    let row = r#"{"instruction": "say ", "input": "it", "output": "gladly"}"#;
    let rows = file(&dir, "rows.jsonl", &format!("{row}\n").repeat(5));
    let before = files(dir.path());
    let output = dir.path().join("out");
    let cache = dir.path().join("cache");
    let args = [
        "train",
        "--dry_run",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        "--train_path",
        &rows,
        "--output_dir",
        output.to_str().unwrap(),
        "--cache_dir",
        cache.to_str().unwrap(),
        "--per_device_train_batch_size=2",
        "--num_train_epochs=3",
    ];
    let said = glmtune(&args).success();
    assert!(said.contains("say it"), "{said}");
    assert!(said.contains("⟦gladly"), "{said}");
    assert!(said.contains("memory of lora"), "{said}");
    assert!(said.contains("trainable params"), "{said}");
    assert!(said.contains("9 steps, 3 an epoch"), "{said}");
    assert_eq!(files(dir.path()), before);
    let args = ["train", "--dry_run", "--quick_start", "--output_dir", "x"];
    assert!(glmtune(&args).failure(2).contains("--quick_start"));
}

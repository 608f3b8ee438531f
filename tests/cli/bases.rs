//! An adapter is used on the weights that it was trained on.

use std::fs;
use std::path::Path;

use glmtune::model::checkpoint::Fingerprint;

use crate::common::golden;
use crate::{file, glmtune, tiny};

const ROWS: &str =
    "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"c\", \"output\": \"d\"}\n";

/// Trains an adapter for a step; gives its directory.
fn adapter(dir: &tempfile::TempDir, model: &str, train_type: &str) -> String {
    let rows = file(dir, "rows.jsonl", ROWS);
    let output = dir.path().join(train_type).display().to_string();
    let mut args = vec![
        "train",
        "--model_name_or_path",
        model,
        "--train_path",
        &rows,
    ];
    args.extend(["--output_dir", &output, "--no_cache", "--backend", "flex"]);
    args.extend([
        "--train_type",
        train_type,
        "--max_steps",
        "1",
        "--pre_seq_len",
        "4",
    ]);
    glmtune(&args).success();
    format!("{output}/epoch-1-step-1")
}

/// A model of the same shape and other weights.
fn other(dir: &tempfile::TempDir, mode: &str) -> String {
    let path = dir.path().join("other").display().to_string();
    let mut args = vec!["init", "--preset", "tiny", "--mode", mode, "--seed", "7"];
    args.extend(["--output", &path]);
    glmtune(&args).success();
    path
}

fn generate(model: &str, adapter: &str, more: &[&str]) -> crate::Run {
    let mut args = vec![
        "generate",
        "--model_name_or_path",
        model,
        "--adapter",
        adapter,
    ];
    args.extend([
        "--prompt",
        "a",
        "--max_new_tokens",
        "1",
        "--backend",
        "flex",
    ]);
    args.extend(more);
    glmtune(&args)
}

#[test]
fn an_adapter_of_another_base_is_refused_unless_forced() {
    let (dir, model) = tiny("glm2");
    let other = other(&dir, "glm2");
    for train_type in ["lora", "ptuning"] {
        let adapter = adapter(&dir, &model, train_type);
        generate(&model, &adapter, &[]).success();
        let error = generate(&other, &adapter, &[]).failure(2);
        for part in ["the weights differ", &model, "--force"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let forced = generate(&other, &adapter, &["--force"]);
        assert!(forced.stderr.contains("warning"), "{}", forced.stderr);
        forced.success();
    }
    let lora = format!("{}/lora/epoch-1-step-1", dir.path().display());
    let merged = dir.path().join("merged").display().to_string();
    let mut merge = vec!["merge", "--model_name_or_path", &other, "--adapter", &lora];
    merge.extend(["--output_dir", &merged]);
    let error = glmtune(&merge).failure(2);
    assert!(error.contains("the weights differ"), "{error}");
    assert!(!Path::new(&merged).exists());
    merge.push("--force");
    glmtune(&merge).success();
    let rows = file(&dir, "more.jsonl", ROWS);
    for command in ["score --data", "train --output_dir unused --train_path"] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend([
            rows.as_str(),
            "--model_name_or_path",
            &other,
            "--adapter",
            &lora,
        ]);
        let error = glmtune(&args).failure(2);
        assert!(error.contains("the weights differ"), "{error}");
    }
}

/// A model that was moved, sharded anew or saved in another type is the same.
#[test]
fn the_same_base_elsewhere_is_accepted() {
    let (dir, model) = tiny("glm2");
    let adapter = adapter(&dir, &model, "lora");
    let zero = file(&dir, "rows0.jsonl", ROWS);
    for dtype in ["f32", "f16", "bf16"] {
        // A training of no step worth its name writes the model in another type and other shards.
        let output = dir.path().join(dtype).display().to_string();
        let mut args = vec![
            "train",
            "--model_name_or_path",
            &model,
            "--train_path",
            &zero,
        ];
        args.extend([
            "--output_dir",
            &output,
            "--no_cache",
            "--backend",
            "flex",
            "--max_steps",
            "1",
        ]);
        args.extend([
            "--train_type",
            "freeze",
            "--freeze_module_name",
            "final_layernorm",
        ]);
        args.extend([
            "--learning_rate",
            "1e-12",
            "--dtype",
            dtype,
            "--max_shard_size",
            "200KB",
        ]);
        glmtune(&args).success();
        let copy = format!("{output}/epoch-1-step-1");
        let run = generate(&copy, &adapter, &[]);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
        run.success();
    }
    // Both layouts of the golden models hold the same weights.
    for family in ["chatglm", "chatglm2", "chatglm3", "glm4"] {
        let copy = dir.path().join(family);
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(golden(family)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            if path.is_file() && name != "model.safetensors" {
                fs::copy(&path, copy.join(name)).unwrap();
            }
        }
        let pickled = Fingerprint::of(&copy).unwrap();
        fs::copy(
            golden(family).join("model.safetensors"),
            copy.join("model.safetensors"),
        )
        .unwrap();
        fs::remove_file(copy.join("pytorch_model.bin.index.json")).unwrap();
        assert_eq!(pickled, Fingerprint::of(&copy).unwrap(), "{family}");
    }
}

/// A LoRA that was merged into its base leaves norms and embeddings as they were.
#[test]
fn a_merged_base_is_another_one() {
    let (dir, model) = tiny("glm2");
    let adapter = adapter(&dir, &model, "lora");
    let merged = dir.path().join("merged").display().to_string();
    let args = [
        "merge",
        "--model_name_or_path",
        &model,
        "--adapter",
        &adapter,
    ];
    glmtune(&[&args[..], &["--output_dir", &merged]].concat()).success();
    let error = generate(&merged, &adapter, &[]).failure(2);
    assert!(error.contains("the weights differ"), "{error}");
}

#[test]
fn an_adapter_given_as_a_model_says_what_it_is() {
    let (dir, model) = tiny("glm2");
    for (train_type, kind) in [
        ("lora", "a LoRA adapter"),
        ("ptuning", "a P-Tuning v2 prefix"),
    ] {
        let adapter = adapter(&dir, &model, train_type);
        let usage = format!("--model_name_or_path {model} --adapter {adapter}");
        let args = [
            "generate",
            "--prompt",
            "a",
            "--model_name_or_path",
            &adapter,
        ];
        let error = glmtune(&args).failure(2);
        assert!(error.contains(kind) && error.contains(&usage), "{error}");
    }
}

/// Adapters of other programs say nothing of their base's weights.
#[test]
fn an_adapter_without_a_note_is_accepted() {
    let (dir, model) = tiny("glm2");
    let adapter = adapter(&dir, &model, "lora");
    fs::remove_file(Path::new(&adapter).join("glmtune.json")).unwrap();
    let run = generate(&other(&dir, "glm2"), &adapter, &[]);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    run.success();
}

//! `merge`: what is folded in computes the same as what is attached; what cannot be folded in is refused.

use std::path::Path;

use glmtune::model::adapters::AdapterMeta;
use glmtune::model::checkpoint::{Checkpoint, DType, TensorInfo, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{FAMILIES, golden};
use crate::score::{error, floats, rows};
use crate::{Run, file, glmtune};

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_string()
}

fn adapter(family: &str, name: &str) -> String {
    text(golden(family).join(name))
}

/// Merges into `out` of a folder.
fn merge(dir: &TempDir, base: &str, adapters: &[&str], extra: &[&str]) -> (Run, String) {
    let out = text(dir.path().join("out"));
    let mut args = vec!["merge", "--model_name_or_path", base, "--output_dir", &out];
    for adapter in adapters {
        args.extend(["--adapter", adapter]);
    }
    args.extend(extra);
    (glmtune(&args), out)
}

/// The logits of the golden rows, one vector per row.
fn logits(family: &str, model: &str, adapters: &[&str]) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Checkpoint::open_file(&golden(family).join("fixtures.safetensors")).unwrap();
    let data = file(&dir, "rows.jsonl", &rows(&fixtures));
    let dump = text(dir.path().join("logits.safetensors"));
    let mut args = vec![
        "score",
        "--backend",
        "flex",
        "--dtype",
        "f32",
        "--data",
        &data,
    ];
    args.extend(["--model_name_or_path", model, "--dump", &dump]);
    for adapter in adapters {
        args.extend(["--adapter", adapter]);
    }
    glmtune(&args).success();
    let dumped = Checkpoint::open_file(dump.as_ref()).unwrap();
    dumped
        .entries()
        .map(|info| floats(&dumped, &info.name))
        .collect()
}

fn difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |max: f32, (a, b)| max.max(error(a, b)))
}

/// A copy of a golden adapter with a note of its mode.
fn noted(dir: &TempDir, family: &str, name: &str, mode: &str) -> String {
    let copy = dir.path().join(format!("{name}-{mode}"));
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(golden(family).join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let meta = AdapterMeta {
        mode: Some(mode.to_string()),
        base_model: Some("THUDM/base".to_string()),
        ..AdapterMeta::default()
    };
    meta.write(&copy).unwrap();
    text(copy)
}

fn config(model: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(model).join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn merged_equals_attached_in_every_family() {
    for family in FAMILIES {
        let base = text(golden(family));
        for adapters in [&["lora"][..], &["lora_all"], &["lora_trained", "lora_all"]] {
            let adapters: Vec<_> = adapters.iter().map(|name| adapter(family, name)).collect();
            let adapters: Vec<_> = adapters.iter().map(String::as_str).collect();
            let dir = tempfile::tempdir().unwrap();
            let (run, out) = merge(&dir, &base, &adapters, &[]);
            run.success();
            let expected = logits(family, &base, &adapters);
            let merged = difference(&logits(family, &out, &[]), &expected);
            assert!(merged < 1e-5, "{family}, {adapters:?}: {merged:e}");
            // That the adapters matter at all.
            assert!(difference(&logits(family, &base, &[]), &expected) > 1e-3);
        }
    }
}

#[test]
fn half_precision_is_written_and_loads() {
    for family in FAMILIES {
        let lora = adapter(family, "lora_all");
        let expected = logits(family, &text(golden(family)), &[&lora]);
        for (flag, name, tolerance) in [("bf16", "bfloat16", 0.1), ("f16", "float16", 0.02)] {
            let dir = tempfile::tempdir().unwrap();
            let (run, out) = merge(&dir, &text(golden(family)), &[&lora], &["--dtype", flag]);
            run.success();
            assert_eq!(config(&out)["torch_dtype"], name);
            let checkpoint = Checkpoint::open(out.as_ref()).unwrap();
            assert!(checkpoint.entries().all(|info| info.dtype.name() == flag));
            let found = difference(&logits(family, &out, &[]), &expected);
            assert!(found < tolerance, "{family}, {flag}: {found:e}");
        }
    }
}

#[test]
fn the_result_is_a_complete_directory_in_shards() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    std::fs::create_dir(&base).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("chatglm2").join(name), base.join(name)).unwrap();
    }
    std::fs::write(base.join("modeling_chatglm.py"), "# code").unwrap();
    let lora = adapter("chatglm2", "lora");
    let (run, out) = merge(&dir, &text(&base), &[&lora], &["--max_shard_size", "100KB"]);
    run.success();
    let out = Path::new(&out);
    assert_eq!(
        std::fs::read_to_string(out.join("modeling_chatglm.py")).unwrap(),
        "# code"
    );
    assert!(out.join("model.safetensors.index.json").exists());
    let (old, new) = (
        Checkpoint::open(&base).unwrap(),
        Checkpoint::open(out).unwrap(),
    );
    assert!(new.files().count() > 1);
    for file in new.files() {
        assert!(std::fs::metadata(file).unwrap().len() < 110_000);
    }
    // Names, shapes, types; and what the adapter does not touch to the last bit.
    assert!(old.entries().eq(new.entries()));
    for info in old.entries() {
        let same = old.read(&info.name).unwrap() == new.read(&info.name).unwrap();
        let is_target = info.name.ends_with("query_key_value.weight");
        assert_eq!(same, !is_target, "{}", info.name);
    }
    let entries = std::fs::read_dir(dir.path()).unwrap();
    assert_eq!(entries.count(), 2, "something was left beside the result");
}

#[test]
fn the_prompt_mode_goes_along() {
    let dir = tempfile::tempdir().unwrap();
    let base = text(golden("chatglm2"));
    let (first, other) = (
        noted(&dir, "chatglm2", "lora", "glm2"),
        noted(&dir, "chatglm2", "lora_all", "glm3"),
    );
    for (adapters, extra) in [
        (&[first.as_str(), &other][..], &[][..]),
        (&[&first], &["--mode", "glm3"]),
    ] {
        let message = merge(&dir, &base, adapters, extra).0.failure(2);
        assert!(
            message.contains("glm2") && message.contains("glm3"),
            "{message}"
        );
    }
    let (run, out) = merge(
        &dir,
        &base,
        &[&first, &adapter("chatglm2", "lora_all")],
        &[],
    );
    run.success();
    let meta = AdapterMeta::read(out.as_ref()).unwrap().unwrap();
    assert_eq!(meta.mode.as_deref(), Some("glm2"));
    assert_eq!(meta.base_model.as_deref(), Some("THUDM/base"));
    // The note is heeded: by those who use the model, and by the next merge.
    let report = glmtune(&["inspect", &out, "--json"]).success();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["mode"], "glm2");
    let again = TempDir::new().unwrap();
    merge(&again, &out, &[&other], &[]).0.failure(2);
    merge(&again, &out, &[&other], &["--mode", "glm3"])
        .0
        .success();
}

#[test]
fn adapters_that_do_not_fit_are_named_together() {
    let dir = tempfile::tempdir().unwrap();
    let base = text(golden("chatglm2"));
    let (first, second) = (adapter("chatglm", "lora"), adapter("chatglm", "lora_all"));
    let (run, out) = merge(&dir, &base, &[&first, &second], &[]);
    let message = run.failure(2);
    for part in [
        &first,
        &second,
        "transformer.layers.0.attention.query_key_value",
        "transformer.layers.2.mlp.dense_4h_to_h",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, lora) = (text(golden("chatglm2")), adapter("chatglm2", "lora"));
    file(&dir, "config.json", r#"{"pre_seq_len": 8}"#);
    let prefix = text(dir.path());
    let message = merge(&dir, &base, &[&prefix], &[]).0.failure(2);
    assert!(
        message.contains("prefix") && message.contains("--adapter"),
        "{message}"
    );
    let message = merge(&dir, "/no/such", &[&lora], &[]).0.failure(2);
    assert!(message.contains("/no/such"), "{message}");
    let message = merge(&dir, &base, &[&base], &[]).0.failure(2);
    assert!(message.contains("adapter_config.json"), "{message}");
    merge(&dir, &base, &[], &[]).0.failure(2);
    let message = merge(&dir, &base, &[&lora], &["--max_shard_size", "2 stones"]);
    assert!(message.0.failure(2).contains("2 stones"));
    // An output directory that holds something.
    let (run, out) = merge(&dir, &base, &[&lora], &[]);
    run.success();
    let message = merge(&dir, &base, &[&lora], &[]).0.failure(2);
    assert!(message.contains(&out), "{message}");
}

#[test]
fn quantized_bases_are_refused() {
    let lora = adapter("chatglm2", "lora");
    let bytes = vec![1; 128 * 64];
    let name = "transformer.encoder.layers.0.self_attention.query_key_value.weight";
    for (dtype, config) in [
        (DType::I8, r#"{"model_type": "chatglm"}"#),
        (DType::F32, r#"{"quantization_bit": 4}"#),
    ] {
        let dir = tempfile::tempdir().unwrap();
        file(&dir, "config.json", config);
        let info = TensorInfo::new(name, dtype, [bytes.len() / dtype.size()]);
        write_safetensors(&dir.path().join("model.safetensors"), &[(info, &bytes)]).unwrap();
        let message = merge(&dir, &text(dir.path()), &[&lora], &[]).0.failure(2);
        assert!(
            message.contains("merges into the full-precision base only"),
            "{message}"
        );
    }
}

#[test]
fn an_adapter_without_effect_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let from = golden("chatglm2").join("lora");
    let lora = dir.path().join("lora");
    std::fs::create_dir(&lora).unwrap();
    std::fs::copy(
        from.join("adapter_config.json"),
        lora.join("adapter_config.json"),
    )
    .unwrap();
    let weights = Checkpoint::open_file(&from.join("adapter_model.safetensors")).unwrap();
    let tensors: Vec<_> = weights
        .entries()
        .map(|info| (info.clone(), vec![0; info.bytes()]))
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(info, bytes)| (info.clone(), bytes.as_slice()))
        .collect();
    write_safetensors(&lora.join("adapter_model.safetensors"), &tensors).unwrap();
    let (run, _) = merge(&dir, &text(golden("chatglm2")), &[&text(&lora)], &[]);
    assert!(run.stderr.contains("changes nothing"), "{}", run.stderr);
    run.success();
}

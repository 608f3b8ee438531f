//! Checkpoint files of the golden models: what the published tools wrote is read, and what is written
//! here comes back.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod memory;

use std::fs;
use std::path::{Path, PathBuf};

use glmtune::model::adapters::{AdapterKind, LoraAdapter, PrefixAdapter, StoredAdapter};
use glmtune::model::checkpoint::{
    AtomicDir, Checkpoint, DType, Existing, Layout, ShardPlan, ShardWriter, TensorInfo,
    copy_side_files,
};

const FAMILIES: [&str; 4] = ["chatglm", "chatglm2", "chatglm3", "glm4"];

/// The golden values of a family: the copy in the repository, else the development folder.
fn golden(family: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        ["tests/data/golden", "../shared/golden"].map(|place| root.join(place).join(family));
    places
        .iter()
        .find(|place| place.is_dir())
        .unwrap_or_else(|| panic!("no golden values of {family} at {places:?}"))
        .clone()
}

/// A folder with copies of some golden files, under new names.
fn folder(family: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        fs::copy(golden(family).join(from), folder.path().join(to)).unwrap();
    }
    folder
}

fn pickled(family: &str) -> tempfile::TempDir {
    let names = [
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ];
    folder(family, &names.map(|name| (name, name)))
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint
        .entries()
        .map(|info| info.name.as_str())
        .collect()
}

#[test]
fn both_layouts_hold_the_same_bytes() {
    for family in FAMILIES {
        let safetensors = Checkpoint::open(&golden(family)).unwrap();
        assert_eq!(safetensors.layout(), Layout::Safetensors);
        let folder = pickled(family);
        let pickled = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(pickled.layout(), Layout::ShardedPytorch);
        assert_eq!(names(&pickled), names(&safetensors), "{family}");
        for info in safetensors.entries() {
            assert_eq!(pickled.get(&info.name), Some(info), "{family}");
            let (a, b) = (pickled.read(&info.name), safetensors.read(&info.name));
            assert_eq!(a.unwrap(), b.unwrap(), "{family}: {}", info.name);
        }
    }
}

#[test]
fn one_shard_can_be_opened_alone() {
    let path = golden("chatglm2").join("pytorch_model-00001-of-00002.bin");
    let checkpoint = Checkpoint::open_file(&path).unwrap();
    assert!(
        checkpoint
            .get("transformer.embedding.word_embeddings.weight")
            .is_some()
    );
    assert_eq!(checkpoint.skipped().count(), 0);
}

#[test]
fn a_rewritten_directory_comes_back() {
    for family in FAMILIES {
        let base = golden(family);
        let source = Checkpoint::open(&base).unwrap();
        let out = tempfile::tempdir().unwrap();
        let target = out.path().join("model");
        let dir = AtomicDir::create(&target, Existing::Refuse).unwrap();
        let halves = source.entries().map(|info| TensorInfo {
            dtype: DType::BF16,
            ..info.clone()
        });
        let plan = ShardPlan::new(halves, 50_000).unwrap();
        assert!(plan.shard_count() > 1);
        let mut writer = ShardWriter::create(dir.path(), plan).unwrap();
        while let Some(info) = writer.next_tensor().cloned() {
            let tensor = source.read_as(&info.name, info.dtype).unwrap();
            writer.write(&info.name, &tensor.bytes).unwrap();
        }
        writer.finish().unwrap();
        let copied = copy_side_files(&base, dir.path()).unwrap();
        assert!(copied.contains(&"config.json".to_owned()));
        assert!(
            !copied
                .iter()
                .any(|name| name.ends_with(".bin") || name.ends_with(".index.json"))
        );
        dir.commit().unwrap();

        let written = Checkpoint::open(&target).unwrap();
        assert_eq!(written.layout(), Layout::ShardedSafetensors);
        assert_eq!(names(&written), names(&source));
        for info in source.entries() {
            let expected = source.read_as(&info.name, DType::BF16).unwrap();
            assert_eq!(written.read(&info.name).unwrap(), expected);
        }
    }
}

#[test]
fn truncated_shards_are_refused() {
    for name in ["model.safetensors", "pytorch_model-00001-of-00002.bin"] {
        let whole = fs::read(golden("chatglm").join(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        for len in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let message = Checkpoint::open_file(&path)
                .expect_err("truncated")
                .to_string();
            assert!(
                message.contains("truncated") || message.contains("at least 8"),
                "{message}"
            );
            assert!(message.contains(name), "{message}");
        }
    }
}

#[test]
fn lora_directories_open() {
    for family in FAMILIES {
        for (name, modules_per_layer) in [
            ("lora", 1),
            ("lora_all", 4),
            ("lora_trained", 1),
            ("lora_all_trained", 4),
        ] {
            let dir = golden(family).join(name);
            assert_eq!(AdapterKind::detect(&dir).unwrap(), AdapterKind::Lora);
            let adapter = LoraAdapter::open(&dir).unwrap();
            assert_eq!(adapter.pairs().len() % modules_per_layer, 0);
            assert!(!adapter.is_without_effect().unwrap());
            let base = Checkpoint::open(&golden(family)).unwrap();
            for pair in adapter.pairs() {
                assert_eq!((pair.rank, pair.scaling), (4, 4.0));
                assert!(adapter.config().target_modules.matches(&pair.module));
                let weight = base.get(&format!("{}.weight", pair.module)).unwrap();
                assert_eq!(weight.shape, [pair.out_features, pair.in_features]);
            }
        }
    }
}

#[test]
fn prefix_encoders_open() {
    for family in FAMILIES {
        for (file, projection) in [
            ("prefix.safetensors", false),
            ("prefix_projection.safetensors", true),
        ] {
            let folder = folder(
                family,
                &[(file, "model.safetensors"), ("config.json", "config.json")],
            );
            let path = folder.path().join("config.json");
            let mut config: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config.insert("pre_seq_len".into(), 5.into());
            config.insert("prefix_projection".into(), projection.into());
            fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
            assert_eq!(
                AdapterKind::detect(folder.path()).unwrap(),
                AdapterKind::Prefix
            );
            let adapter = PrefixAdapter::open(folder.path()).unwrap();
            assert_eq!(adapter.pre_seq_len(), 5);
            assert_eq!(adapter.tensors().len(), if projection { 5 } else { 1 });
        }
    }
}

#[test]
fn a_model_directory_is_not_an_adapter() {
    assert!(AdapterKind::detect(&golden("glm4")).is_err());
}

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

/// A directory with ChatGLM2-6B's configuration and no weights.
fn chatglm2_6b() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "chatglm", "padded_vocab_size": 65024, "hidden_size": 4096,
        "num_layers": 28, "num_attention_heads": 32, "kv_channels": 128, "ffn_hidden_size": 13696,
        "multi_query_attention": true, "multi_query_group_num": 2, "add_qkv_bias": true}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    dir
}

/// The numbers that the ancestor's scripts print for ChatGLM2-6B.
#[test]
fn trained_parameters_are_counted_without_weights() {
    let dir = chatglm2_6b();
    let args = ["--lora_dim", "8", "--pre_seq_len", "128", "--json"];
    let report = glmtune(&[&["inspect", dir.path().to_str().unwrap()], &args[..]].concat());
    let report: serde_json::Value = serde_json::from_str(&report.success()).unwrap();
    let counts = &report["trainable parameters"];
    assert_eq!(counts["lora"]["count"], 1_949_696);
    assert_eq!(counts["ptuning"]["count"], 1_835_008);
    assert_eq!(counts["all"]["count"], 6_243_584_000u64);
    assert_eq!(counts["all"]["share"], 1.0);
}

#[test]
fn a_plan_names_what_lowers_it() {
    let dir = chatglm2_6b();
    let plan = |more: &[&str]| -> serde_json::Value {
        let first = ["inspect", dir.path().to_str().unwrap(), "--plan", "--json"];
        let kind = ["--train_type", "lora", "--dtype", "bf16"];
        let size = ["--per_device_train_batch_size", "1", "--max_len", "1560"];
        let report = glmtune(&[&first[..], &kind, &size, more].concat()).success();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["plan of lora, bf16"].clone()
    };
    let device = |plan: &serde_json::Value| plan["device"]["total"].as_u64().unwrap();
    let plain = plan(&[]);
    let offers = plain["what would lower the device's"].as_object().unwrap();
    assert!(
        offers.contains_key("--gradient_checkpointing"),
        "{offers:?}"
    );
    // 12.5 GB of weights, and little beside them.
    let checkpointed = device(&plan(&["--gradient_checkpointing"]));
    assert!((12_500_000_000..15_000_000_000).contains(&checkpointed));
    assert!(checkpointed < device(&plain));
    // Room for two blocks of 0.4 GB each and for the head, which does not fit into that of a block; the pools' pages.
    let offloaded = plan(&["--offload_param"]);
    assert!(device(&offloaded) < 2_600_000_000, "{offloaded}");
    assert!(offloaded["host"]["total"].as_u64().unwrap() > 12_000_000_000);
    // Eight processes that share the weights out: what visits a device is as much, what each keeps an eighth.
    let file = dir.path().join("stage3.json");
    std::fs::write(&file, r#"{"zero_optimization": {"stage": 3}}"#).unwrap();
    let file = ["--ds_file", file.to_str().unwrap(), "--processes", "8"];
    let sharded = plan(&file);
    assert!(device(&sharded) <= device(&offloaded));
    let host = |plan: &serde_json::Value| plan["host"]["weights"].as_u64().unwrap();
    let visiting = host(&offloaded) - host(&sharded);
    assert!(
        visiting.abs_diff(host(&offloaded) / 8 * 7) < 1_100_000_000,
        "{sharded}"
    );
    // Eight cards of one process keep an eighth each, beside what visits them, and nothing is in the host's memory.
    let stage3 = [file[0], file[1]];
    let cards = |devices: &str| plan(&[&stage3[..], &["--devices", devices]].concat());
    let eight = cards("0,1,2,3,4,5,6,7");
    let parts = device(&eight) - device(&sharded);
    let whole = host(&offloaded);
    assert!(parts.abs_diff(whole / 8) < 300_000_000, "{eight}");
    assert!(host(&eight) < 1_100_000_000, "{eight}");
    let saved = device(&cards("0,1")) - device(&cards("0,1,2,3"));
    assert!(saved.abs_diff(whole / 4) < 600_000_000, "{saved}");
    // Where parts are in the host's memory, one process has them once.
    let in_host = [&stage3[..], &["--devices", "0,1", "--offload_param"]].concat();
    assert_eq!(device(&plan(&in_host)), device(&offloaded));
    // Without stage 3 the weights are on every device.
    let replicas = plan(&["--processes", "8"]);
    assert!(device(&replicas) > 12_500_000_000);
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
    assert!(report["tensors"].is_null());
    let report = glmtune(&["inspect", dir.to_str().unwrap(), "--json", "--tensors"]).success();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["tensors"].as_object().unwrap().len(), 24);
}

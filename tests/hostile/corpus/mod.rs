//! Small files that are right, to start from.

pub mod torch;

use std::fs;
use std::path::{Path, PathBuf};

use glmtune::model::adapters::{FileFormat, LoraConfig, TargetModules, write_lora_adapter};
use glmtune::model::checkpoint::{DType, RawTensor, TensorInfo, write_safetensors};
use glmtune::model::parameters::parameters;
use glmtune::model::random_weights::{Initialization, random_weights};
use glmtune::model::tokenizer::{Mode, small_tokenizer};
use glmtune::model::{BuildOptions, CausalLm, ModelConfig};

use crate::mutate::protobuf;

/// The backend of a model that is only looked at.
pub type Backend = glmtune::backend::AnyBackend;

/// A model of the second generation with tokenizer and weights; a few kilobytes.
pub fn model(dir: &Path) {
    tokenizer_json(dir);
    config(dir, SECOND);
    weights(dir);
}

pub fn config(dir: &Path, text: &str) {
    fs::write(dir.join("config.json"), text).unwrap();
}

pub const SECOND: &str = r#"{"model_type": "chatglm", "padded_vocab_size": 352, "hidden_size": 16, "num_layers": 2,
"num_attention_heads": 2, "kv_channels": 8, "ffn_hidden_size": 24, "multi_query_attention": true,
"multi_query_group_num": 1, "add_qkv_bias": true, "add_bias_linear": false, "seq_length": 64, "rmsnorm": true,
"layernorm_epsilon": 1e-05, "post_layer_norm": true, "original_rope": true, "eos_token_id": 2, "pad_token_id": 0,
"rope_ratio": 2, "torch_dtype": "float32", "tie_word_embeddings": false, "pre_seq_len": null}"#;

pub const FIRST: &str = r#"{"model_type": "chatglm", "vocab_size": 352, "hidden_size": 16, "num_layers": 2,
"num_attention_heads": 2, "inner_hidden_size": 64, "max_sequence_length": 64, "layernorm_epsilon": 1e-05,
"position_encoding_2d": true, "bos_token_id": 301, "eos_token_id": 302, "mask_token_id": 303,
"gmask_token_id": 304, "pad_token_id": 3, "quantization_bit": 0, "torch_dtype": "float16"}"#;

pub fn tokenizer_json(dir: &Path) {
    let (tokenizer, settings) = small_tokenizer(Mode::Glm2);
    fs::write(dir.join("tokenizer.json"), tokenizer).unwrap();
    fs::write(dir.join("tokenizer_config.json"), settings).unwrap();
}

/// Random weights for the directory's configuration.
fn weights(dir: &Path) {
    let config = ModelConfig::from_dir(dir).unwrap();
    let model =
        CausalLm::<Backend>::uninitialized(&config, &BuildOptions::float32(), &Default::default());
    let tensors: Vec<_> = parameters(&model)
        .into_iter()
        .map(|info| {
            let info = TensorInfo::new(info.path, DType::F32, info.shape);
            let bytes = random_weights(&info, Initialization::of(&info.name), 7).unwrap();
            (info, bytes)
        })
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(info, bytes)| (info.clone(), bytes.as_slice()))
        .collect();
    write_safetensors(&dir.join("model.safetensors"), &tensors).unwrap();
}

/// Three tensors of three types.
pub fn safetensors(dir: &Path) {
    let tensors = [
        (TensorInfo::new("w", DType::F32, [2, 3]), &[1u8; 24][..]),
        (TensorInfo::new("layers.2.b", DType::BF16, [4]), &[2; 8]),
        (TensorInfo::new("layers.10.b", DType::I64, [1]), &[3; 8]),
    ];
    write_safetensors(&dir.join("model.safetensors"), &tensors).unwrap();
}

pub fn torch(dir: &Path) {
    let tensors = [
        ("w", [2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ("layers.2.b", [1, 4], vec![0.5; 4]),
        ("layers.10.b", [3, 1], vec![-2.0; 3]),
    ];
    fs::write(dir.join("pytorch_model.bin"), torch::state_dict(&tensors)).unwrap();
}

pub fn sharded(dir: &Path) {
    for name in ["a", "b"] {
        let tensors = [(TensorInfo::new(name, DType::F32, [2]), &[1u8; 8][..])];
        write_safetensors(&dir.join(format!("model-{name}.safetensors")), &tensors).unwrap();
    }
    let index = r#"{"metadata": {"total_size": 16}, "weight_map": {"a": "model-a.safetensors", "b": "model-b.safetensors"}}"#;
    fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
}

pub const MODULE: &str = "transformer.encoder.layers.0.self_attention.query_key_value";

/// An adapter for [`model`].
pub fn lora(dir: &Path) {
    let raw = |shape: [usize; 2], value: f32| RawTensor {
        dtype: DType::F32,
        shape: shape.to_vec(),
        bytes: value.to_le_bytes().repeat(shape[0] * shape[1]),
    };
    let mut config = LoraConfig::new(2, 4.0, TargetModules::names(["query_key_value"]));
    config.rank_pattern =
        glmtune::model::adapters::Patterns::new([("layers\\.1\\..*".to_string(), 2)]).unwrap();
    let factors = [0, 1].map(|layer| {
        let module = MODULE.replace(".0.", &format!(".{layer}."));
        (module, raw([2, 16], 0.5), raw([32, 2], -0.25))
    });
    let factors: Vec<_> = factors
        .iter()
        .map(|(m, a, b)| (m.as_str(), a.clone(), b.clone()))
        .collect();
    write_lora_adapter(dir, &config, &factors, FileFormat::Safetensors).unwrap();
    fs::write(
        dir.join("glmtune.json"),
        r#"{"mode": "glm2", "base_model": "/models/base"}"#,
    )
    .unwrap();
}

pub fn prefix(dir: &Path) {
    config(
        dir,
        &SECOND.replace(
            "\"pre_seq_len\": null",
            "\"pre_seq_len\": 3, \"prefix_projection\": false",
        ),
    );
    let info = TensorInfo::new(
        "transformer.prefix_encoder.embedding.weight",
        DType::F32,
        [3, 32],
    );
    write_safetensors(&dir.join("model.safetensors"), &[(info, &[0u8; 384][..])]).unwrap();
}

pub fn rows(dir: &Path) {
    let rows = "{\"instruction\": \"a\", \"input\": \"b\", \"output\": \"c\"}\n{\"input_ids\": [1, 2, 3], \"labels\": [-100, 2, 3]}\n{\"instruction\": \"你好\", \"input\": \"\", \"output\": \"d\"}\n";
    fs::write(dir.join("rows.jsonl"), rows).unwrap();
    let array = rows.trim_end().replace('\n', ",\n");
    fs::write(dir.join("rows.json"), format!("[{array}]")).unwrap();
}

pub fn deepspeed(dir: &Path) {
    let text = r#"{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": "auto", "gradient_clipping": 1.0,
"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu", "pin_memory": true},
"offload_param": {"device": "cpu"}, "overlap_comm": true, "reduce_bucket_size": 5e8},
"fp16": {"enabled": true, "loss_scale": 0, "initial_scale_power": 16, "loss_scale_window": 1000, "hysteresis": 2},
"bf16": {"enabled": false}, "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-8}},
"scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": 0, "warmup_num_steps": 10, "total_num_steps": 100}}}"#;
    fs::write(dir.join("ds.json"), text).unwrap();
}

pub fn settings(dir: &Path) {
    let text = "model_name_or_path = \"base\"\ntrain_path = \"rows.jsonl\"\nlora_dim = 8\nlearning_rate = 1e-4\n\
                lora_module_name = [\"query_key_value\", \"dense\"]\ngradient_checkpointing = true\nmax_len = 512\n";
    fs::write(dir.join("run.toml"), text).unwrap();
}

pub fn metrics(dir: &Path) {
    let line = |step: u32| {
        format!(
            "{{\"step\": {step}, \"epoch\": 1, \"loss\": 2.5, \"lr\": 1e-4, \"grad_norm\": 1.0, \"tokens\": 10, \"seconds\": 0.5, \"memory_bytes\": 1}}\n"
        )
    };
    fs::write(
        dir.join("metrics.jsonl"),
        (1..6).map(line).collect::<String>(),
    )
    .unwrap();
}

/// A published tokenizer's directory, where there is one.
pub fn published(name: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/tokenizers")
        .join(name);
    dir.is_dir().then_some(dir)
}

/// A SentencePiece model, cut down.
pub fn sentencepiece(dir: &Path, from: &Path, name: &str) {
    let bytes = fs::read(from.join(name)).unwrap();
    fs::write(dir.join(name), protobuf::cut_down(&bytes, 400).unwrap()).unwrap();
    fs::write(
        dir.join("tokenizer_config.json"),
        fs::read(from.join("tokenizer_config.json")).unwrap(),
    )
    .unwrap();
}

/// Ranks of tiktoken: the bytes and some pairs; the special tokens follow them.
pub fn ranks(dir: &Path, from: &Path) {
    const RANKS: usize = 600;
    let text = fs::read_to_string(from.join("tokenizer.model")).unwrap();
    let lines: Vec<&str> = text.lines().take(RANKS).collect();
    fs::write(dir.join("tokenizer.model"), lines.join("\n")).unwrap();
    let settings = fs::read(from.join("tokenizer_config.json")).unwrap();
    let mut settings: serde_json::Value = serde_json::from_slice(&settings).unwrap();
    let added = settings["added_tokens_decoder"].as_object().unwrap();
    let first = added
        .keys()
        .filter_map(|id| id.parse::<usize>().ok())
        .min()
        .unwrap();
    let moved: serde_json::Map<String, serde_json::Value> = added
        .iter()
        .filter_map(|(id, token)| {
            let id = id.parse::<usize>().ok()? - first + RANKS;
            Some((id.to_string(), token.clone()))
        })
        .collect();
    settings["added_tokens_decoder"] = moved.into();
    fs::write(dir.join("tokenizer_config.json"), settings.to_string()).unwrap();
}

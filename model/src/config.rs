//! The published `config.json` as typed settings.
//!
//! All families say `"model_type": "chatglm"`; they are told apart by their keys. Every switch of the
//! published configurations either acts or is refused by name; keys that only describe the file
//! (`torch_dtype`, `auto_map`, …) are known and inert, and an unknown key is reported, not obeyed.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{self, Limit};
use crate::float_type::{FloatType, TYPE_KEYS};
use crate::json_settings::{self, FLAG, Form, Section};
use crate::printable::{printable, printable_path};

/// Keys that describe a file or its training and change nothing that is computed here.
const INERT: &[&str] = &[
    "_name_or_path",
    "architectures",
    "attention_softmax_in_fp32", // the softmax is always computed in float32
    "apply_query_key_layer_scaling", // divides and multiplies by the same factor
    "auto_map",
    "bias_dropout_fusion",
    "bos_token_id",
    "classifier_dropout",
    "eos_token_id",
    "gmask_token_id",
    "is_encoder_decoder",
    "mask_token_id",
    "max_sequence_length",
    "model_type",
    "name_or_path",
    "num_hidden_layers",
    "pad_token_id",
    "pre_seq_len",
    "prefix_projection",
    "seq_length",
    "transformers_version",
    "use_cache",
    "vocab_size",
];

/// What the two architectures have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonConfig {
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Added to the (mean) square in the norms.
    pub layernorm_epsilon: f64,
    /// Longest sequence that the model was made for; longer ones are computed all the same.
    pub max_positions: usize,
    /// Ids that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// Id that pads a batch.
    pub pad_token_id: u32,
    /// Prefix tokens of P-Tuning v2, where the directory says that it holds a prefix encoder.
    pub pre_seq_len: Option<usize>,
    /// Whether the prefix passes an MLP.
    pub prefix_projection: bool,
    /// Type that the weights are published in.
    pub torch_dtype: Option<FloatType>,
}

/// ChatGLM-6B.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatGlmConfig {
    /// Shared settings.
    pub common: CommonConfig,
    /// Width inside the MLP.
    pub inner_hidden_size: usize,
    /// `<sop>`: the first token that attends causally.
    pub bos_token_id: u32,
    /// `[MASK]`.
    pub mask_token_id: u32,
    /// `[gMASK]`.
    pub gmask_token_id: u32,
}

/// ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatGlm2Config {
    /// Shared settings.
    pub common: CommonConfig,
    /// Width inside the MLP.
    pub ffn_hidden_size: usize,
    /// Dimension of a head.
    pub kv_channels: usize,
    /// Groups that share keys and values; `None` without multi-query attention, where
    /// `query_key_value` is split per head.
    pub multi_query_groups: Option<usize>,
    /// A bias on every linear layer but the head.
    pub add_bias_linear: bool,
    /// A bias on `query_key_value`.
    pub add_qkv_bias: bool,
    /// A norm after the last block.
    pub post_layer_norm: bool,
    /// Residuals start from the normalised stream.
    pub apply_residual_connection_post_layernorm: bool,
    /// Stretches the rotary positions for long texts, in one of [two ways](crate::rope_ratio).
    pub rope_ratio: Option<f64>,
}

impl ChatGlm2Config {
    /// Heads of the keys and values.
    pub fn kv_heads(&self) -> usize {
        self.multi_query_groups
            .unwrap_or(self.common.num_attention_heads)
    }

    /// Width of the joint query, key and value projection.
    pub fn qkv_width(&self) -> usize {
        (self.common.num_attention_heads + 2 * self.kv_heads()) * self.kv_channels
    }
}

/// The configuration of either architecture.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// ChatGLM-6B.
    ChatGlm(ChatGlmConfig),
    /// ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B.
    ChatGlm2(ChatGlm2Config),
}

impl ModelConfig {
    /// Reads `config.json` of a model directory.
    ///
    /// # Errors
    /// If the file cannot be read, is not a JSON object, or a key is missing, wrong or unsupported:
    /// all such keys are named together.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = files::read_text(&path, Limit::SETTINGS)?;
        Self::from_json(&text, &path)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir).
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|source| Error::json(path, source))?;
        let (config, notes) = json_settings::read(&map, path, |keys| {
            let config = match is_first_generation(&map) {
                true => Self::ChatGlm(ChatGlmConfig::parse(keys)),
                false => Self::ChatGlm2(ChatGlm2Config::parse(keys)),
            };
            keys.accept(INERT);
            keys.note_unknown();
            config
        })?;
        for note in notes {
            tracing::warn!("{}: key {}", printable_path(path), printable(&note));
        }
        Ok(config)
    }

    /// What a row of token ids lacks that the positions of this architecture depend on.
    pub fn row_fault(&self, ids: &[u32]) -> Option<String> {
        let Self::ChatGlm(config) = self else {
            return None;
        };
        let lacks = |id: u32| !ids.contains(&id);
        let missing = |name: &str, id: u32| {
            Some(format!(
                "no {name} token (id {id}), which ChatGLM-6B's positions depend on"
            ))
        };
        if lacks(config.bos_token_id) {
            return missing("<sop>", config.bos_token_id);
        }
        match lacks(config.gmask_token_id) && lacks(config.mask_token_id) {
            true => missing("[gMASK] or [MASK]", config.gmask_token_id),
            false => None,
        }
    }

    /// What both architectures share.
    pub fn common(&self) -> &CommonConfig {
        match self {
            Self::ChatGlm(config) => &config.common,
            Self::ChatGlm2(config) => &config.common,
        }
    }

    /// The same, to change.
    pub fn common_mut(&mut self) -> &mut CommonConfig {
        match self {
            Self::ChatGlm(config) => &mut config.common,
            Self::ChatGlm2(config) => &mut config.common,
        }
    }

    /// Heads of the keys and values.
    pub fn kv_heads(&self) -> usize {
        match self {
            Self::ChatGlm(config) => config.common.num_attention_heads,
            Self::ChatGlm2(config) => config.kv_heads(),
        }
    }

    /// Dimension of a head.
    pub fn head_dim(&self) -> usize {
        match self {
            Self::ChatGlm(config) => config.common.hidden_size / config.common.num_attention_heads,
            Self::ChatGlm2(config) => config.kv_channels,
        }
    }
}

/// ChatGLM-6B alone has an inner_hidden_size or two-dimensional positions.
fn is_first_generation(map: &Map<String, Value>) -> bool {
    map.contains_key("inner_hidden_size") || map.contains_key("position_encoding_2d")
}

impl ChatGlmConfig {
    fn parse(keys: &mut Section<'_>) -> Self {
        keys.only("position_encoding_2d", true);
        let vocab_size = size(keys, "vocab_size");
        let common = CommonConfig::parse(keys, vocab_size, "max_sequence_length", 2048);
        if common.num_attention_heads > 0
            && !common
                .hidden_size
                .is_multiple_of(4 * common.num_attention_heads)
        {
            keys.wrong(
                "hidden_size",
                common.hidden_size,
                "a multiple of 4 · num_attention_heads",
            );
        }
        Self {
            inner_hidden_size: size_or(keys, "inner_hidden_size", 4 * common.hidden_size),
            bos_token_id: keys.require("bos_token_id", &TOKEN).unwrap_or(0),
            mask_token_id: keys.require("mask_token_id", &TOKEN).unwrap_or(0),
            gmask_token_id: keys.require("gmask_token_id", &TOKEN).unwrap_or(0),
            common,
        }
    }
}

impl ChatGlm2Config {
    fn parse(keys: &mut Section<'_>) -> Self {
        let vocab_size = size(keys, "padded_vocab_size");
        let common = CommonConfig::parse(keys, vocab_size, "seq_length", 2048);
        keys.only("rmsnorm", true);
        keys.only("original_rope", true);
        keys.only("fp32_residual_connection", false);
        keys.only("interleaved_qkv", false);
        let heads = common.num_attention_heads;
        let multi_query = keys.read_or("multi_query_attention", &FLAG, false);
        let groups = optional_size(keys, "multi_query_group_num").unwrap_or(1);
        if multi_query && (groups == 0 || !heads.is_multiple_of(groups)) {
            keys.wrong(
                "multi_query_group_num",
                groups,
                "a divisor of num_attention_heads",
            );
        }
        let kv_channels = size_or(keys, "kv_channels", common.hidden_size / heads.max(1));
        if !kv_channels.is_multiple_of(4) {
            keys.wrong("kv_channels", kv_channels, "a multiple of 4");
        }
        Self {
            ffn_hidden_size: size(keys, "ffn_hidden_size"),
            kv_channels,
            multi_query_groups: multi_query.then_some(groups),
            add_bias_linear: keys.read_or("add_bias_linear", &FLAG, false),
            add_qkv_bias: keys.read_or("add_qkv_bias", &FLAG, false),
            post_layer_norm: keys.read_or("post_layer_norm", &FLAG, true),
            apply_residual_connection_post_layernorm: keys.read_or(
                "apply_residual_connection_post_layernorm",
                &FLAG,
                false,
            ),
            rope_ratio: number(keys, "rope_ratio", 1e9),
            common,
        }
    }
}

impl CommonConfig {
    fn parse(
        keys: &mut Section<'_>,
        vocab_size: usize,
        length: &'static str,
        default_length: usize,
    ) -> Self {
        keys.only("model_type", "chatglm");
        keys.only("tie_word_embeddings", false);
        keys.only("quantization_bit", 0);
        keys.only("attention_dropout", 0);
        keys.only("hidden_dropout", 0);
        let hidden_size = size(keys, "hidden_size");
        let num_attention_heads = size(keys, "num_attention_heads");
        if num_attention_heads > 0 && !hidden_size.is_multiple_of(num_attention_heads) {
            keys.wrong(
                "hidden_size",
                hidden_size,
                "a multiple of num_attention_heads",
            );
        }
        let pad_token_id = keys.read("pad_token_id", &TOKEN);
        if let Some(id) = pad_token_id.filter(|&id| id as usize >= vocab_size) {
            let expected = format!("an id of the vocabulary: below {vocab_size}");
            keys.wrong("pad_token_id", id, &expected);
        }
        Self {
            vocab_size,
            hidden_size,
            num_layers: size(keys, "num_layers"),
            num_attention_heads,
            layernorm_epsilon: number(keys, "layernorm_epsilon", 1.0).unwrap_or(1e-5),
            max_positions: size_or(keys, length, default_length),
            eos_token_ids: keys.read_or("eos_token_id", &TOKENS, Vec::new()),
            pad_token_id: pad_token_id.unwrap_or(0),
            pre_seq_len: optional_size(keys, "pre_seq_len").filter(|&len| len > 0),
            prefix_projection: keys.read_or("prefix_projection", &FLAG, false),
            torch_dtype: TYPE_KEYS
                .map(|key| keys.read(key, &WEIGHT_TYPE))
                .into_iter()
                .find_map(|dtype| dtype),
        }
    }
}

/// The largest value of a size: several times what any published model has, and small enough that every
/// number of elements and bytes that follows from sizes fits into 64 bits.
fn most(key: &str) -> usize {
    match key {
        "num_layers" | "num_attention_heads" | "multi_query_group_num" | "kv_channels" => 1 << 10,
        "hidden_size" | "pre_seq_len" => 1 << 16,
        "inner_hidden_size" | "ffn_hidden_size" => 1 << 20,
        "vocab_size" | "padded_vocab_size" => 1 << 22,
        _ => i32::MAX as usize,
    }
}

/// A size that need not be there.
fn optional_size(keys: &mut Section<'_>, key: &'static str) -> Option<usize> {
    let most = most(key);
    keys.read_by(key, &format!("an integer from 0 to {most}"), |value| {
        let size = usize::try_from(value.as_u64()?).ok()?;
        (size <= most).then_some(size)
    })
}

/// A size that must be there and not be zero.
fn size(keys: &mut Section<'_>, key: &'static str) -> usize {
    match keys.has(key) {
        true => size_or(keys, key, 1),
        false => {
            keys.wrong(key, "nothing", "a positive integer");
            1
        }
    }
}

/// A size that need not be there, and is not zero.
fn size_or(keys: &mut Section<'_>, key: &'static str, default: usize) -> usize {
    match optional_size(keys, key) {
        Some(0) => {
            keys.wrong(key, 0, "a positive integer");
            1
        }
        found => found.unwrap_or(default),
    }
}

fn number(keys: &mut Section<'_>, key: &'static str, most: f64) -> Option<f64> {
    keys.read_by(key, &format!("a number above 0, up to {most}"), |value| {
        value.as_f64().filter(|&x| x > 0.0 && x <= most)
    })
}

const TOKEN: Form<u32> = Form {
    expected: "a token id",
    read: token,
};

const TOKENS: Form<Vec<u32>> = Form {
    expected: "a token id or a list of them",
    read: |value| match value {
        Value::Array(values) => values.iter().map(token).collect(),
        value => Some(vec![token(value)?]),
    },
};

const WEIGHT_TYPE: Form<FloatType> = Form {
    expected: "float32, float16 or bfloat16",
    read: |value| FloatType::of_config_name(value.as_str()?),
};

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const SECOND: &str = r#"{"model_type": "chatglm", "padded_vocab_size": 160, "hidden_size": 64,
        "num_layers": 3, "num_attention_heads": 4, "kv_channels": 16, "ffn_hidden_size": 96,
        "multi_query_attention": true, "multi_query_group_num": 2, "add_qkv_bias": true"#;

    fn parse(rest: &str) -> Result<ModelConfig> {
        ModelConfig::from_json(&format!("{SECOND}{rest}}}"), Path::new("config.json"))
    }

    #[test]
    fn second_generation() {
        let ModelConfig::ChatGlm2(config) =
            parse(r#", "rope_ratio": 500, "eos_token_id": [7, 8], "dtype": "bfloat16""#).unwrap()
        else {
            panic!("taken for ChatGLM-6B");
        };
        assert_eq!(config.qkv_width(), 128);
        assert_eq!(config.rope_ratio, Some(500.0));
        assert_eq!(config.common.eos_token_ids, [7, 8]);
        assert_eq!(config.common.torch_dtype, Some(FloatType::Bf16));
        assert!(config.post_layer_norm);
    }

    #[test]
    fn rows_lack_what_positions_need() {
        let text = r#"{"model_type": "chatglm", "vocab_size": 160, "hidden_size": 64, "num_layers": 3,
            "num_attention_heads": 4, "position_encoding_2d": true, "bos_token_id": 5, "mask_token_id": 6,
            "gmask_token_id": 7}"#;
        let config = ModelConfig::from_json(text, Path::new("config.json")).unwrap();
        for row in [&[1, 7, 5, 2][..], &[6, 5]] {
            assert_eq!(config.row_fault(row), None);
        }
        assert!(config.row_fault(&[1, 7]).unwrap().contains("<sop>"));
        assert!(config.row_fault(&[1, 5]).unwrap().contains("[gMASK]"));
        assert_eq!(parse("").unwrap().row_fault(&[1]), None);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let error = parse(r#", "rmsnorm": false, "num_layers": "x", "tie_word_embeddings": true"#);
        let message = error.unwrap_err().to_string();
        for key in ["rmsnorm", "num_layers", "tie_word_embeddings"] {
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }

    #[test]
    fn padding_outside_the_vocabulary_is_refused() {
        assert!(parse(r#", "pad_token_id": 159"#).is_ok());
        let message = parse(r#", "pad_token_id": 160"#).unwrap_err().to_string();
        assert!(message.contains("`pad_token_id`"), "{message}");
        assert!(message.contains("below 160"), "{message}");
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for (key, value) in [
            ("num_layers", 5000),
            ("num_layers", 1_000_000),
            ("num_layers", 0),
            ("hidden_size", 0),
            ("hidden_size", 66),
            ("num_attention_heads", 0),
            ("kv_channels", 0),
            ("kv_channels", 6),
            ("ffn_hidden_size", 0),
            ("padded_vocab_size", 0),
            ("padded_vocab_size", 1i64 << 40),
            ("multi_query_group_num", 0),
            ("multi_query_group_num", 3),
            ("seq_length", 0),
            ("rope_ratio", 0),
            ("layernorm_epsilon", 7),
        ] {
            let mut map: Map<String, Value> = serde_json::from_str(&format!("{SECOND}}}")).unwrap();
            map.insert(key.to_string(), Value::from(value));
            let text = serde_json::to_string(&map).unwrap();
            let message = ModelConfig::from_json(&text, Path::new("config.json"))
                .expect_err(key)
                .to_string();
            assert!(
                message.contains(&format!("`{key}`")),
                "{key} {value}: {message}"
            );
        }
        let message = parse(r#", "seq_length": 1e300"#).unwrap_err().to_string();
        assert!(message.contains("seq_length"), "{message}");
        let message = parse(r#", "hidden_size": 99999999999"#)
            .unwrap_err()
            .to_string();
        assert!(message.contains("hidden_size"), "{message}");
    }
}

//! Sizes of models that are made with random weights. A new one is a variant of [`Preset`] with its name, its title and
//! its sizes.

use serde_json::{Map, Value, json};

use crate::tokenizer::Mode;

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// A few blocks of width 64.
    Tiny,
    /// 1.4 million parameters with a vocabulary of 2,500.
    Mini,
    /// 40 to 60 million parameters with a published vocabulary.
    Small,
    /// 100 million parameters with ChatGLM2's vocabulary.
    Medium,
    /// ChatGLM-6B.
    ChatGlm6b,
    /// ChatGLM2-6B.
    ChatGlm2_6b,
    /// ChatGLM3-6B.
    ChatGlm3_6b,
    /// GLM-4-9B.
    Glm4_9b,
}

/// The sizes of a preset for one family, under the names of the families' configurations.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    layers: usize,
    heads: usize,
    groups: usize,
    inner: usize,
}

impl Preset {
    /// All of them, the smallest first.
    pub const ALL: [Self; 8] = [
        Self::Tiny,
        Self::Mini,
        Self::Small,
        Self::Medium,
        Self::ChatGlm6b,
        Self::ChatGlm2_6b,
        Self::ChatGlm3_6b,
        Self::Glm4_9b,
    ];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Mini => "mini",
            Self::Small => "small",
            Self::Medium => "100m",
            Self::ChatGlm6b => "chatglm-6b",
            Self::ChatGlm2_6b => "chatglm2-6b",
            Self::ChatGlm3_6b => "chatglm3-6b",
            Self::Glm4_9b => "glm-4-9b",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tiny => "A few blocks of width 64: for trying and for tests",
            Self::Mini => {
                "Four blocks of width 128 with the vocabulary of --tokenizer: to be trained on a CPU"
            }
            Self::Small => {
                "40 to 60 million parameters with a published vocabulary, which --tokenizer brings"
            }
            Self::Medium => {
                "100 million parameters with ChatGLM2's vocabulary, which --tokenizer brings: for benchmarks"
            }
            Self::ChatGlm6b => "ChatGLM-6B",
            Self::ChatGlm2_6b => "ChatGLM2-6B",
            Self::ChatGlm3_6b => "ChatGLM3-6B",
            Self::Glm4_9b => "GLM-4-9B",
        }
    }

    /// The preset of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The family that the preset's name implies.
    pub fn mode(self) -> Option<Mode> {
        match self {
            Self::Tiny | Self::Mini | Self::Small | Self::Medium => None,
            Self::ChatGlm6b => Some(Mode::Glm),
            Self::ChatGlm2_6b => Some(Mode::Glm2),
            Self::ChatGlm3_6b => Some(Mode::Glm3),
            Self::Glm4_9b => Some(Mode::Glm4),
        }
    }

    /// Whether the sizes are those of a published model.
    pub fn is_published(self) -> bool {
        self.mode().is_some()
    }

    /// Rows of the vocabulary of the family's published model.
    pub fn published_vocabulary(mode: Mode) -> usize {
        match mode {
            Mode::Glm => 130_528,
            Mode::Glm2 | Mode::Glm3 => 65_024,
            Mode::Glm4 => 151_552,
        }
    }

    fn sizes(self, mode: Mode) -> Sizes {
        let sizes = |hidden, layers, heads, groups, inner| Sizes {
            hidden,
            layers,
            heads,
            groups,
            inner,
        };
        match (self, mode) {
            (Self::Tiny, Mode::Glm) => sizes(64, 4, 4, 4, 256),
            (Self::Tiny, _) => sizes(64, 4, 4, 2, 192),
            (Self::Mini, Mode::Glm) => sizes(128, 4, 4, 4, 512),
            (Self::Mini, _) => sizes(128, 4, 4, 4, 320),
            // With the family's vocabulary, 40 to 60 million parameters, most of them embeddings.
            (Self::Small, Mode::Glm) => sizes(192, 8, 4, 4, 768),
            (Self::Small, Mode::Glm4) => sizes(160, 8, 5, 1, 448),
            (Self::Small, _) => sizes(320, 8, 5, 1, 896),
            (Self::Medium, Mode::Glm) => sizes(320, 14, 8, 8, 1280),
            (Self::Medium, Mode::Glm4) => sizes(256, 28, 4, 2, 704),
            (Self::Medium, _) => sizes(512, 12, 8, 2, 1408),
            (Self::ChatGlm6b, _) => sizes(4096, 28, 32, 32, 16_384),
            (Self::ChatGlm2_6b | Self::ChatGlm3_6b, _) => sizes(4096, 28, 32, 2, 13_696),
            (Self::Glm4_9b, _) => sizes(4096, 40, 32, 2, 13_696),
        }
    }

    /// The configuration of the preset for a family and a vocabulary; the special tokens of ChatGLM-6B,
    /// which its configuration names, are left to the caller.
    pub fn config(self, mode: Mode, vocabulary: usize) -> Map<String, Value> {
        let sizes = self.sizes(mode);
        let config = match mode {
            Mode::Glm => first_generation(sizes, vocabulary),
            _ => second_generation(sizes, vocabulary, mode),
        };
        match config {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

fn first_generation(sizes: Sizes, vocabulary: usize) -> Value {
    json!({
        "architectures": ["ChatGLMModel"],
        "hidden_size": sizes.hidden,
        "inner_hidden_size": sizes.inner,
        "layernorm_epsilon": 1e-5,
        "max_sequence_length": 2048,
        "model_type": "chatglm",
        "num_attention_heads": sizes.heads,
        "num_layers": sizes.layers,
        "position_encoding_2d": true,
        "use_cache": true,
        "vocab_size": vocabulary,
    })
}

fn second_generation(sizes: Sizes, vocabulary: usize, mode: Mode) -> Value {
    let mut config = json!({
        "add_bias_linear": false,
        "add_qkv_bias": true,
        "apply_query_key_layer_scaling": true,
        "apply_residual_connection_post_layernorm": false,
        "architectures": ["ChatGLMModel"],
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": true,
        "bias_dropout_fusion": true,
        "ffn_hidden_size": sizes.inner,
        "fp32_residual_connection": false,
        "hidden_dropout": 0.0,
        "hidden_size": sizes.hidden,
        "kv_channels": sizes.hidden / sizes.heads,
        "layernorm_epsilon": if mode == Mode::Glm4 { 1.5625e-7 } else { 1e-5 },
        "model_type": "chatglm",
        "multi_query_attention": true,
        "multi_query_group_num": sizes.groups,
        "num_attention_heads": sizes.heads,
        "num_layers": sizes.layers,
        "original_rope": true,
        "padded_vocab_size": vocabulary,
        "post_layer_norm": true,
        "rmsnorm": true,
        "seq_length": if mode == Mode::Glm2 { 32_768 } else { 8192 },
        "tie_word_embeddings": false,
        "use_cache": true,
    });
    if mode == Mode::Glm4 {
        config["rope_ratio"] = json!(500);
        config["num_hidden_layers"] = json!(sizes.layers);
    }
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ModelConfig;

    #[test]
    fn every_preset_is_a_configuration_and_has_a_name() {
        for preset in Preset::ALL {
            assert_eq!(Preset::of_name(preset.name()), Some(preset));
            for mode in preset.mode().map_or(Mode::ALL.to_vec(), |mode| vec![mode]) {
                let mut config = preset.config(mode, Preset::published_vocabulary(mode));
                for key in ["pad", "bos", "eos", "mask", "gmask"] {
                    config.insert(format!("{key}_token_id"), json!(1));
                }
                let text = Value::Object(config).to_string();
                let config = ModelConfig::from_json(&text, Path::new("config.json")).unwrap();
                assert_eq!(config.common().num_layers, preset.sizes(mode).layers);
            }
        }
    }
}

//! How many parameters a tuning method trains, and an estimate of the memory that its training takes.
//!
//! The estimate counts what must exist at once: weights in the compute type; float32 masters, AdamW's two
//! moments and gradients of what is trained; the activations that the backward pass needs; the float32
//! logits with their gradient. It leaves out the allocator's rounding and the backend's own buffers.

use burn::tensor::DType;

use crate::causal_lm::prefix_shape;
use crate::config::ModelConfig;
use crate::parameters::ParameterInfo;

/// A tuning method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Only parameters whose name contains one of these parts.
    Freeze {
        /// The parts of names.
        names: Vec<String>,
    },
    /// A prefix of P-Tuning v2.
    Prefix {
        /// Prefix positions.
        pre_seq_len: usize,
        /// Whether the prefix passes an MLP.
        projection: bool,
    },
    /// Low-rank adapters.
    Lora {
        /// Their rank.
        rank: usize,
        /// The linear layers, by the last part of their path.
        modules: Vec<String>,
    },
    /// Everything.
    All,
}

impl Method {
    /// Number of parameters that the method trains.
    pub fn trainable(&self, config: &ModelConfig, parameters: &[ParameterInfo]) -> usize {
        let count = |wanted: &dyn Fn(&ParameterInfo) -> bool| -> usize {
            let chosen = parameters.iter().filter(|info| wanted(info));
            chosen.map(ParameterInfo::elements).sum()
        };
        match self {
            Self::All => count(&|_| true),
            Self::Freeze { names } => {
                count(&|info| names.iter().any(|name| info.path.contains(name)))
            }
            Self::Prefix {
                pre_seq_len,
                projection,
            } => prefix_parameters(config, *pre_seq_len, *projection),
            Self::Lora { rank, modules } => {
                let adapted = parameters.iter().filter(|info| is_adapted(info, modules));
                adapted
                    .map(|info| rank * info.shape.iter().sum::<usize>())
                    .sum()
            }
        }
    }

    /// Whether gradients of the base weights are computed.
    fn trains_base(&self) -> bool {
        matches!(self, Self::All | Self::Freeze { .. })
    }
}

fn is_adapted(info: &ParameterInfo, modules: &[String]) -> bool {
    let Some(path) = info.path.strip_suffix(".weight") else {
        return false;
    };
    let name = path.rsplit('.').next().unwrap_or_default();
    info.shape.len() == 2 && modules.iter().any(|module| module == name)
}

fn prefix_parameters(config: &ModelConfig, pre_seq_len: usize, projection: bool) -> usize {
    let shape = prefix_shape(config, pre_seq_len, projection);
    if !projection {
        return pre_seq_len * shape.kv_width();
    }
    let linear = |input: usize, output: usize| input * output + output;
    pre_seq_len * shape.embedding_width
        + linear(shape.embedding_width, shape.hidden)
        + linear(shape.hidden, shape.kv_width())
}

/// What is computed in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Rows.
    pub batch: usize,
    /// Tokens per row.
    pub length: usize,
    /// Compute type.
    pub dtype: DType,
}

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEstimate {
    /// Weights in the compute type.
    pub weights: u64,
    /// Float32 copies of what is trained, where the compute type has 16 bits.
    pub masters: u64,
    /// AdamW's two moments.
    pub moments: u64,
    /// Gradients of what is trained, float32.
    pub gradients: u64,
    /// What the backward pass needs of the blocks.
    pub activations: u64,
    /// Float32 logits and their gradient.
    pub logits: u64,
}

impl MemoryEstimate {
    /// All together.
    pub fn total(&self) -> u64 {
        self.weights + self.masters + self.moments + self.gradients + self.activations + self.logits
    }
}

/// Estimates the memory of training without gradient checkpointing.
pub fn estimate(
    config: &ModelConfig,
    parameters: &[ParameterInfo],
    method: &Method,
    workload: &Workload,
) -> MemoryEstimate {
    let size = workload.dtype.size() as u64;
    let total: usize = parameters.iter().map(ParameterInfo::elements).sum();
    let trained = method.trainable(config, parameters) as u64;
    let tokens = (workload.batch * workload.length) as u64;
    let adds_parameters = !method.trains_base();
    MemoryEstimate {
        weights: total as u64 * size + if adds_parameters { trained * size } else { 0 },
        masters: if size < 4 { trained * 4 } else { 0 },
        moments: trained * 8,
        gradients: trained * 4,
        activations: tokens * size * kept_per_token(config, method),
        logits: tokens * config.common().vocab_size as u64 * 4 * 2,
    }
}

/// Elements that the backward pass keeps of each token: per block the inputs of both norms, queries, keys,
/// values, the attention's result and the MLP's inner state; with trained base weights also the inputs of
/// the linear layers.
fn kept_per_token(config: &ModelConfig, method: &Method) -> u64 {
    let common = config.common();
    let heads = common.num_attention_heads * config.head_dim();
    let groups = config.kv_heads() * config.head_dim();
    let inner = match config {
        ModelConfig::ChatGlm(config) => config.inner_hidden_size,
        ModelConfig::ChatGlm2(config) => 2 * config.ffn_hidden_size,
    };
    let block = 2 * common.hidden_size + 2 * heads + 2 * groups + inner;
    let inputs = 2 * common.hidden_size + inner / 2;
    let per_block = match method {
        Method::All | Method::Freeze { .. } => block + inputs,
        Method::Lora { .. } => block + common.hidden_size,
        Method::Prefix { .. } => block,
    };
    let blocks = match method {
        // Below the lowest trained block nothing is kept.
        Method::Freeze { names } => trained_blocks(names, common.num_layers),
        _ => common.num_layers,
    };
    (per_block * blocks) as u64
}

/// Blocks from the lowest trained one to the last.
fn trained_blocks(names: &[String], layers: usize) -> usize {
    let trained = |layer: &usize| {
        let path = format!("layers.{layer}.");
        names
            .iter()
            .any(|name| path.contains(name.as_str()) || name.contains(&path))
    };
    (0..layers)
        .find(trained)
        .map_or(layers, |lowest| layers - lowest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> ModelConfig {
        let text = r#"{"model_type": "chatglm", "padded_vocab_size": 65024, "hidden_size": 4096,
            "num_layers": 28, "num_attention_heads": 32, "kv_channels": 128, "ffn_hidden_size": 13696,
            "multi_query_attention": true, "multi_query_group_num": 2, "add_qkv_bias": true}"#;
        ModelConfig::from_json(text, Path::new("config.json")).unwrap()
    }

    fn qkv_parameters() -> Vec<ParameterInfo> {
        (0..28)
            .map(|layer| ParameterInfo {
                path: format!(
                    "transformer.encoder.layers.{layer}.self_attention.query_key_value.weight"
                ),
                shape: vec![4608, 4096],
            })
            .collect()
    }

    /// The numbers that the ancestor's scripts print for ChatGLM2-6B.
    #[test]
    fn counts_of_chatglm2() {
        let lora = Method::Lora {
            rank: 8,
            modules: vec!["query_key_value".to_string()],
        };
        assert_eq!(lora.trainable(&config(), &qkv_parameters()), 1_949_696);
        let prefix = Method::Prefix {
            pre_seq_len: 128,
            projection: false,
        };
        assert_eq!(prefix.trainable(&config(), &[]), 1_835_008);
    }

    #[test]
    fn freezing_keeps_only_the_blocks_above() {
        let names = ["layers.27.", "layers.26."].map(String::from);
        assert_eq!(trained_blocks(&names, 28), 2);
        assert_eq!(trained_blocks(&["dense".to_string()], 28), 28);
    }
}

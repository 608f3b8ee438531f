//! What is measured: a piece of work, with everything that decides its result beside model and device.

use glmtune_model::adapters::AdapterSettings;
use glmtune_training::settings::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::models::ModelChoice;
use crate::cli::TrainType;
use crate::commands::error::Result;

/// Blocks that `freeze` trains: the last ones, as many as the Python project's README has.
const FREEZE_BLOCKS: usize = 4;

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What people call it.
    pub name: String,
    /// The model.
    pub model: ModelChoice,
    /// What is done with it.
    pub work: Work,
    /// Memory of the same in a published table, in GB, where there is one.
    pub published_gb: Option<f64>,
}

/// What is done with a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Work {
    /// What the device's products and its memory give at most.
    Machine,
    /// Steps of a training.
    Train(TrainCase),
    /// The pass over prompts.
    Prefill(AnswerCase),
    /// The tokens of answers, one by one.
    Decode(AnswerCase),
    /// Reading the checkpoint.
    Load,
    /// AdamW.
    Update,
    /// Values between host, devices and processes.
    Collectives,
    /// Products with the weights.
    Kernels(KernelCase),
}

/// A training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainCase {
    /// What is trained.
    pub method: TrainType,
    /// Dropout of the adapter.
    pub dropout: f64,
    /// Tokens of a row.
    pub max_len: usize,
    /// Rows of a micro-batch.
    pub batch_size: usize,
    /// Rank of LoRA.
    pub lora_dim: usize,
    /// Layers with LoRA.
    pub lora_module_name: Vec<String>,
    /// Prefix positions.
    pub pre_seq_len: usize,
    /// Whether blocks run again in the backward pass.
    pub gradient_checkpointing: bool,
    /// Whether the optimizer's state is in the host's memory.
    pub offload_optimizer: bool,
    /// Whether the base model's matrices are.
    pub offload_param: bool,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerCase {
    /// Tokens of a prompt.
    pub tokens: usize,
    /// Prompts that are answered together.
    pub batch_size: usize,
    /// Tokens of an answer.
    pub new_tokens: usize,
}

/// Products.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelCase {
    /// Rows of activations in training, and for a prompt.
    pub tokens: usize,
    /// Rows when tokens follow one by one.
    pub batch_size: usize,
    /// Rank of LoRA.
    pub lora_dim: usize,
}

impl TrainCase {
    /// The method, for a model of so many blocks.
    ///
    /// # Errors
    /// If a value cannot be of its setting.
    pub fn method(&self, blocks: usize) -> Result<Method> {
        Ok(match self.method {
            TrainType::Freeze => Method::Freeze {
                freeze_module_name: (blocks.saturating_sub(FREEZE_BLOCKS)..blocks)
                    .map(|block| format!("layers.{block}."))
                    .collect(),
            },
            TrainType::All => Method::All,
            TrainType::Adapter(kind) => AdapterSettings::of(kind, self.values())?.into(),
        })
    }

    /// The settings of an adapter by the names of their flags; those of other kinds are passed over.
    fn values(&self) -> Map<String, Value> {
        let values = json!({
            "lora_dim": self.lora_dim,
            "lora_dropout": self.dropout,
            "lora_module_name": self.lora_module_name,
            "pre_seq_len": self.pre_seq_len,
            "prefix_projection": true,
            "prefix_dropout": self.dropout,
        });
        match values {
            Value::Object(values) => values,
            _ => Map::new(),
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        let mut name = format!("train {}", self.method.name());
        let mut add = |is_so: bool, what: &str| {
            if is_so {
                name.push_str(&format!(", {what}"));
            }
        };
        add(
            self.method.is_adapter(),
            &format!("dropout {}", self.dropout),
        );
        add(self.gradient_checkpointing, "checkpointed");
        match (self.offload_optimizer, self.offload_param) {
            (true, true) => add(true, "all offloaded"),
            (optimizer, parameters) => {
                add(optimizer, "optimizer offloaded");
                add(parameters, "parameters offloaded");
            }
        }
        add(true, &format!("{} tokens", self.max_len * self.batch_size));
        name
    }
}

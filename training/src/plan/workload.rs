//! The training that is planned.

use burn::tensor::DType;
use glmtune_model::ModelConfig;
use glmtune_model::parameters::ParameterInfo;

use crate::settings::Method;

/// What is to be trained, and how.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its parameters.
    pub parameters: &'a [ParameterInfo],
    /// What is trained.
    pub method: &'a Method,
    /// Sequences of a micro-batch: rows, or packed ones.
    pub batch: usize,
    /// Tokens of the longest sequence.
    pub length: usize,
    /// Tokens of that sequence that have a target.
    pub targets: usize,
    /// Type of the frozen weights and of the activations.
    pub dtype: DType,
    /// Processes that train together.
    pub processes: usize,
    /// Devices of a process.
    pub devices: usize,
    /// Whether a step has several micro-batches of a device.
    pub accumulates: bool,
    /// Whether the device is the CPU, so that both memories are one.
    pub on_cpu: bool,
    /// What saves memory.
    pub saving: Saving,
}

/// Flags that save memory on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Saving {
    /// `--gradient_checkpointing`
    pub gradient_checkpointing: bool,
    /// `--offload_optimizer`
    pub offload_optimizer: bool,
    /// `--offload_param`
    pub offload_param: bool,
    /// Whether several processes, or the devices of one, share out the weights: `zero_optimization.stage` 3 in
    /// `--ds_file`.
    pub shard_param: bool,
}

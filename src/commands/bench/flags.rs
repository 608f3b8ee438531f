//! What the flags ask of a training.

use super::case::TrainCase;
use crate::cli::{BenchArgs, TrainType};

/// Dropout, where none is given: the Python project's.
const DROPOUT: f64 = 0.1;
/// Tokens of a row, where nothing else is given.
pub const MAX_LEN: usize = 512;

/// The values of dropout that are measured.
pub fn dropouts(args: &BenchArgs) -> Vec<f64> {
    match args.dropout.as_slice() {
        [] => vec![DROPOUT],
        given => given.to_vec(),
    }
}

/// A training as the flags have it.
pub fn training(args: &BenchArgs, method: TrainType, dropout: f64) -> TrainCase {
    TrainCase {
        method,
        dropout,
        max_len: args.max_len.unwrap_or(MAX_LEN),
        batch_size: args.batch_size,
        lora_dim: args.lora_dim,
        lora_module_name: args.lora_module_name.clone(),
        pre_seq_len: args.pre_seq_len,
        gradient_checkpointing: args.gradient_checkpointing,
        offload_optimizer: args.offload_optimizer,
        offload_param: args.offload_param,
    }
}

//! How many rows are answered together: as many as the memory that is free holds, up to where more of them gain
//! nothing.

use burn::tensor::DType;
use glmtune_model::ModelInfo;
use glmtune_model::generation::GenerationOptions;
use glmtune_model::parameters::parameters;
use glmtune_model::{CausalLm, GlmBackend, ModelConfig};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::backend::Selected;

/// More rows share the reading of the weights no better, and wait longer for each other.
const MOST: usize = 32;
/// Rows where nothing is known of a device's memory.
const UNKNOWN: usize = 8;
/// Share of the free memory that is used: others live there too, and allocators round up.
const SHARE: f64 = 0.5;
/// Hidden states of a block that exist at once, in widths of the model.
const HIDDEN_STATES: usize = 8;
/// Copies of the logits that exist at once, in float32.
const LOGITS: usize = 3;

/// The memory of a prediction, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Of the weights.
    weights: u64,
    /// Of a row: keys and values, the pass over its prompt, logits.
    row: u64,
}

impl Memory {
    /// The memory of rows whose longest prompt has so many tokens.
    pub fn of<B: GlmBackend>(
        model: &CausalLm<B>,
        info: &ModelInfo,
        dtype: DType,
        longest: usize,
        options: &GenerationOptions,
    ) -> Self {
        let parameters = parameters(model);
        let elements: usize = parameters.iter().map(|info| info.elements()).sum();
        let prefix = model.prefix_len();
        let length = match options.max_length {
            Some(max) => max.min(longest + options.max_new_tokens).max(longest),
            None => longest + options.max_new_tokens,
        };
        let row = per_row(
            &info.config,
            dtype.size(),
            prefix + length,
            longest,
            options,
        );
        Self {
            weights: (elements * dtype.size()) as u64,
            row: row as u64,
        }
    }

    /// Rows that are answered together on a device, whose weights are loaded.
    pub fn batch_size(&self, selected: &Selected) -> usize {
        match free(selected, self.weights) {
            None => UNKNOWN,
            Some(free) => self.rows_in(free),
        }
    }

    fn rows_in(&self, free: u64) -> usize {
        let rows = free as f64 * SHARE / self.row.max(1) as f64;
        (rows as usize).clamp(1, MOST)
    }
}

fn per_row(
    config: &ModelConfig,
    size: usize,
    length: usize,
    prompt: usize,
    options: &GenerationOptions,
) -> usize {
    let common = config.common();
    let inner = match config {
        ModelConfig::ChatGlm(config) => config.inner_hidden_size,
        // Gate and value, and their product.
        ModelConfig::ChatGlm2(config) => 3 * config.ffn_hidden_size,
    };
    let key_values = common.num_layers * 2 * config.kv_heads() * config.head_dim() * length * size;
    let pass = prompt * (HIDDEN_STATES * common.hidden_size + inner) * size.max(4);
    let logits = LOGITS * common.vocab_size * 4;
    options.num_sequences * (key_values + logits) + pass
}

/// The memory that is free beside the weights; nothing where nobody knows.
fn free(selected: &Selected, weights: u64) -> Option<u64> {
    match selected.memory() {
        Some(memory) => Some(memory.saturating_sub(weights)),
        None if selected.is_cpu() => {
            let memory = MemoryRefreshKind::nothing().with_ram();
            let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
            let limit = system.cgroup_limits().map(|limits| limits.free_memory);
            let available = system.available_memory();
            Some(limit.map_or(available, |limit| limit.min(available)))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_decides_within_bounds() {
        let memory = Memory {
            weights: 0,
            row: 1 << 20,
        };
        assert_eq!(memory.rows_in(20 << 20), 10);
        assert_eq!(memory.rows_in(0), 1);
        assert_eq!(memory.rows_in(1 << 40), MOST);
    }
}

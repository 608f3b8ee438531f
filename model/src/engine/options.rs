//! How large an engine is.

use super::handle::EngineLimits;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::float_type::FloatType;

/// How large an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Bytes for keys and values, of all sequences together.
    pub kv_cache: u64,
    /// Most sequences that run at once.
    pub max_running: usize,
    /// Most requests that wait beside them.
    pub max_waiting: usize,
    /// Most tokens of a sequence, prompt and answer; `None`: what the model is made for.
    pub max_sequence: Option<usize>,
    /// Most tokens of prompts that one step computes.
    pub step_tokens: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            kv_cache: 1 << 30,
            max_running: 64,
            max_waiting: 256,
            max_sequence: None,
            step_tokens: 512,
        }
    }
}

/// Bytes of the keys and values of one token, in all layers.
pub fn bytes_per_token(config: &ModelConfig, dtype: FloatType) -> u64 {
    let values = 2 * config.common().num_layers * config.kv_heads() * config.head_dim();
    values as u64 * dtype.size() as u64
}

impl EngineOptions {
    /// What they allow for a model.
    ///
    /// # Errors
    /// [`Error::Request`] if an option is out of range, or the bytes do not hold a single short sequence.
    pub fn limits(&self, config: &ModelConfig, dtype: FloatType) -> Result<EngineLimits> {
        for (name, value) in [
            ("max_running", self.max_running),
            ("step_tokens", self.step_tokens),
            ("max_sequence", self.max_sequence.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::Request(format!("{name} must be at least 1")));
            }
        }
        let sequence = self.max_sequence.unwrap_or(config.common().max_positions);
        let per_token = bytes_per_token(config, dtype);
        let fits = usize::try_from(self.kv_cache / per_token.max(1)).unwrap_or(usize::MAX);
        // More than all running sequences can fill is of use to what is kept of others only.
        let capacity = fits.min(sequence.saturating_mul(self.max_running).saturating_mul(2));
        if capacity < SHORTEST.min(sequence) {
            return Err(Error::Request(format!(
                "a cache of {} bytes holds keys and values of {capacity} tokens ({per_token} bytes each): give more",
                self.kv_cache
            )));
        }
        Ok(EngineLimits {
            capacity,
            max_sequence: sequence.min(capacity),
            vocabulary: config.common().vocab_size,
            max_waiting: self.max_waiting,
        })
    }
}

/// A cache that holds less is of no use to anybody.
const SHORTEST: usize = 64;

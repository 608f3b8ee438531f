//! The memory of a server: weights, and keys and values of the requests.

use glmtune_model::engine::{EngineOptions, bytes_per_token};
use glmtune_model::parameters::{ParameterInfo, parameters};
use glmtune_model::{BuildOptions, CausalLm, FloatType, ModelConfig};

use super::console::{grouped, human_bytes};
use super::error::{Error, Result};
use crate::backend::{AnyBackend, Selected};

/// What a server holds for as long as it runs; what a step needs beside it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeMemory {
    /// Bytes of the base's weights.
    pub weights: u64,
    /// Bytes of the keys and values of one token.
    pub per_token: u64,
    /// Tokens whose keys and values fit.
    pub tokens: u64,
}

impl ServeMemory {
    /// The memory of a base in a type, with a cache of some size.
    ///
    /// # Errors
    /// If the cache holds too little, or a number is out of range.
    pub fn of(config: &ModelConfig, dtype: FloatType, options: &EngineOptions) -> Result<Self> {
        Ok(Self {
            tokens: options.limits(config, dtype)?.capacity as u64,
            ..Self::of_base(config, dtype)
        })
    }

    /// The same without a cache.
    pub fn of_base(config: &ModelConfig, dtype: FloatType) -> Self {
        let options = BuildOptions::float32();
        let model = CausalLm::<AnyBackend>::uninitialized(config, &options, &Default::default());
        let parameters = parameters(&model);
        let elements = parameters.iter().map(ParameterInfo::elements);
        let elements = elements.fold(0, usize::saturating_add);
        Self {
            weights: elements as u64 * dtype.size() as u64,
            per_token: bytes_per_token(config, dtype),
            tokens: 0,
        }
    }

    /// Bytes of the cache.
    pub fn cache(&self) -> u64 {
        self.per_token.saturating_mul(self.tokens)
    }

    /// `weights 11.6 GiB, keys and values 1.0 GiB (37,449 tokens)`.
    pub fn describe(&self) -> String {
        format!(
            "memory: weights {}, keys and values {} ({} tokens)",
            human_bytes(self.weights as f64),
            human_bytes(self.cache() as f64),
            grouped(self.tokens as usize)
        )
    }

    /// Refuses what a device cannot hold, before it is loaded.
    ///
    /// # Errors
    /// [`Error::Request`] that says what would fit.
    pub fn check(&self, device: &Selected) -> Result<()> {
        let Some(memory) = device.memory() else {
            return Ok(());
        };
        if self.weights.saturating_add(self.cache()) <= memory {
            return Ok(());
        }
        let left = memory.saturating_sub(self.weights);
        Err(Error::Request(format!(
            "{device} has {}: {} do not fit; --kv_cache may be {} at most",
            human_bytes(memory as f64),
            self.describe(),
            human_bytes(left as f64)
        )))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use glmtune_model::presets::Preset;
    use glmtune_model::tokenizer::Mode;

    use super::*;

    #[test]
    fn keys_and_values_of_chatglm2_6b() {
        let folder = tempfile::tempdir().unwrap();
        let config = Preset::ChatGlm2_6b.config(Mode::Glm2, 65_024);
        let text = serde_json::to_string(&config).unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let config = ModelConfig::from_dir(folder.path()).unwrap();
        let options = EngineOptions {
            kv_cache: 2_000_000_000,
            ..EngineOptions::default()
        };
        let memory = ServeMemory::of(&config, FloatType::Bf16, &options).unwrap();
        // 28 layers, a key and a value, two groups of 128 numbers of two bytes.
        assert_eq!(memory.per_token, 28 * 2 * 2 * 128 * 2);
        assert_eq!(memory.tokens, 2_000_000_000 / memory.per_token);
        assert_eq!(memory.weights, 6_243_584_000 * 2);
    }
}

//! The golden models with a `rope_ratio`: ChatGLM2-32k and ChatGLM3-32k in small.

use std::fs;

use glmtune::model::checkpoint::{Checkpoint, DType};
use serde_json::Value;

use super::golden;

/// A family's model with a `rope_ratio`, its input and what the published code computes on it.
pub struct LongContext {
    pub model: tempfile::TempDir,
    pub input_ids: Vec<u32>,
    /// `[tokens, vocabulary]`.
    pub logits: Vec<f32>,
}

impl LongContext {
    pub fn of(family: &str) -> Self {
        let dir = golden(family);
        let fixture = Checkpoint::open_file(&dir.join("rope_ratio.safetensors")).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let raw = fixture.read_as(name, DType::F32).unwrap();
            let chunks = raw.bytes.chunks_exact(4);
            chunks
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let ids = fixture.read("input_ids").unwrap().bytes;
        let ids = ids.chunks_exact(8);
        let model = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(dir.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["rope_ratio"] = f64::from(floats("rope_ratio")[0]).into();
        fs::write(model.path().join("config.json"), config.to_string()).unwrap();
        let weights = "model.safetensors";
        fs::copy(dir.join(weights), model.path().join(weights)).unwrap();
        Self {
            model,
            input_ids: ids
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect(),
            logits: floats("logits"),
        }
    }
}

//! Reading the golden values.

use std::fs;
use std::path::Path;

use glmtune::model::{Padding, TokenBatch};
use safetensors::SafeTensors;
use serde_json::Value;

use super::golden;

/// The fixtures of one family.
pub struct Fixtures {
    bytes: Vec<u8>,
    pub meta: Value,
}

impl Fixtures {
    pub fn of(family: &str) -> Self {
        let dir = golden(family);
        let meta = fs::read_to_string(dir.join("meta.json")).unwrap();
        Self {
            bytes: fs::read(dir.join("fixtures.safetensors")).unwrap(),
            meta: serde_json::from_str(&meta).unwrap(),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors()
            .names()
            .into_iter()
            .map(String::from)
            .collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let data = tensors
            .tensor(name)
            .unwrap_or_else(|_| panic!("no fixture {name}"));
        let chunks = data.data().chunks_exact(4);
        chunks
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    /// Rows of integers.
    pub fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let tensors = self.tensors();
        let data = tensors.tensor(name).unwrap();
        let chunks = data.data().chunks_exact(8);
        let values: Vec<i64> = chunks
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        values
            .chunks(data.shape()[1])
            .map(<[i64]>::to_vec)
            .collect()
    }

    /// Batch 0.
    pub fn batch(&self) -> TokenBatch {
        let rows = self.rows("input_ids").into_iter();
        let rows = rows.map(|row| row.into_iter().map(|id| id as u32).collect());
        TokenBatch::new(rows.collect(), Padding::Right, 0)
    }

    /// Token ids of a path in meta.json.
    pub fn tokens(&self, pointer: &str) -> Vec<u32> {
        let list = self.meta.pointer(pointer).and_then(Value::as_array);
        let list = list.unwrap_or_else(|| panic!("no {pointer} in meta.json"));
        list.iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }
}

/// A prefix in the official layout: its weights beside the base's config.json with the prefix's keys.
pub fn prefix_directory(family: &Path, run: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(family.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["pre_seq_len"] = 5.into();
    config["prefix_projection"] = (run == "prefix_projection").into();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let weights = family.join(format!("{run}.safetensors"));
    fs::copy(weights, dir.path().join("model.safetensors")).unwrap();
    dir
}

/// Asserts `max|a-b| / max|b| ≤ tolerance`, and that nothing is NaN.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let difference = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0f32, |max, x| if x > max || x.is_nan() { x } else { max });
    // A gradient that is zero in exact arithmetic is compared absolutely.
    let error = if largest < 1e-7 {
        difference
    } else {
        difference / largest
    };
    assert!(
        error <= tolerance,
        "{what}: error {error:e}, tolerance {tolerance:e}"
    );
}

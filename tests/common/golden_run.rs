//! The golden runs: twelve steps of a method, as the published PyTorch code took them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use super::fixtures::{Fixtures, prefix_directory};
use super::golden;

/// What is trained in the golden runs of each family.
pub const RUNS: [&str; 6] = [
    "all",
    "freeze",
    "lora",
    "lora_all",
    "prefix",
    "prefix_projection",
];

/// Micro-batches of a golden run.
const MICRO_BATCHES: usize = 24;

/// The lines of `metrics.jsonl`.
pub fn metrics(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A column of `metrics.jsonl`.
pub fn column(output: &Path, name: &str) -> Vec<f64> {
    let rows = metrics(output).into_iter();
    rows.map(|row| row[name].as_f64().unwrap_or(f64::NAN))
        .collect()
}

/// A DeepSpeed file that asks for weights to be shared out, in a folder.
pub fn stage3(folder: &Path) -> String {
    let path = folder.join("stage3.json");
    std::fs::write(&path, r#"{"zero_optimization": {"stage": 3}}"#).unwrap();
    path.to_str().unwrap().to_string()
}

/// The matrices of a golden model, by their paths, and their elements.
pub fn matrices(family: &str) -> BTreeMap<String, usize> {
    let bytes = std::fs::read(golden(family).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors
        .iter()
        .filter(|(_, tensor)| tensor.shape().len() > 1);
    all.map(|(name, tensor)| (name.to_string(), tensor.shape().iter().product()))
        .collect()
}

/// How often a pass needs a matrix, of whose model the lowest block with something to train is known, and whether the
/// embeddings are trained.
pub fn visits(path: &str, lowest: usize, embeddings: bool) -> usize {
    if path.contains("embedding") {
        return 1 + usize::from(embeddings);
    }
    let block = path.split_once("layers.").map(|(_, rest)| rest);
    let block = block.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match block {
        Some(block) => 1 + usize::from(block >= lowest),
        None => 1,
    }
}

/// A golden run: its folder, and the arguments of `glmtune train` that repeat it.
pub struct GoldenRun {
    pub folder: tempfile::TempDir,
    pub fixtures: Fixtures,
    args: Vec<String>,
    adapter: Option<PathBuf>,
    /// Keeps the prefix's directory.
    _prefix: Option<tempfile::TempDir>,
}

impl GoldenRun {
    pub fn new(family: &str, run: &str) -> Self {
        let (folder, fixtures) = (tempfile::tempdir().unwrap(), Fixtures::of(family));
        let rows = folder.path().join("rows.jsonl");
        std::fs::write(&rows, rows_of(&fixtures)).unwrap();
        let train = &fixtures.meta["train"];
        let lr = train["lr"].to_string();
        let mut args = vec![
            ("model_name_or_path", golden(family).display().to_string()),
            ("train_path", rows.display().to_string()),
            ("per_device_train_batch_size", "2".to_string()),
            ("gradient_accumulation_steps", train["accum"].to_string()),
            ("learning_rate", lr),
            ("warmup_ratio", "0.25".to_string()),
            ("dtype", "f32".to_string()),
        ];
        let (mut adapter, mut prefix) = (None, None);
        match run {
            "all" => args.push(("train_type", "all".to_string())),
            "freeze" => {
                let names = fixtures.meta["freeze_module_name"].as_str().unwrap();
                args.push(("train_type", "freeze".to_string()));
                args.push(("freeze_module_name", names.to_string()));
            }
            "lora" | "lora_all" => {
                args.push(("train_type", "lora".to_string()));
                adapter = Some(golden(family).join(run));
                args.push(("lora_dropout", "0".to_string()));
            }
            _ => {
                let dir = prefix_directory(&golden(family), run);
                args.push(("train_type", "ptuning".to_string()));
                adapter = Some(dir.path().to_path_buf());
                args.push(("prefix_dropout", "0".to_string()));
                prefix = Some(dir);
            }
        }
        if let Some(adapter) = &adapter {
            args.push(("adapter", adapter.display().to_string()));
        }
        let args = args
            .into_iter()
            .flat_map(|(name, value)| [format!("--{name}"), value])
            .collect();
        Self {
            folder,
            fixtures,
            args,
            adapter,
            _prefix: prefix,
        }
    }

    /// The adapter that the run starts from.
    pub fn adapter(&self) -> &Path {
        self.adapter.as_deref().unwrap()
    }

    /// The arguments of `glmtune` for a training into a folder, and more. Of a flag that comes twice, the last counts.
    pub fn arguments(&self, output: &Path, more: &[&str]) -> Vec<String> {
        let mut args = vec!["train", "--no_shuffle", "--no_cache"];
        args.extend(self.args.iter().map(String::as_str));
        args.extend(["--output_dir", output.to_str().unwrap()]);
        args.extend(more);
        args.into_iter().map(String::from).collect()
    }

    /// What the published code gave, step by step.
    pub fn trajectory(&self, run: &str, name: &str) -> Vec<f64> {
        let values = self.fixtures.meta["trajectories"][run][name].as_array();
        let values = values.unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect()
    }

    /// Asserts that loss, learning rate and gradient norm are those of the published code.
    pub fn assert_trajectory(&self, run: &str, output: &Path, tolerance: f64) {
        for name in ["loss", "lr", "grad_norm"] {
            let expected = self.trajectory(run, name);
            let found = column(output, name);
            assert_eq!(found.len(), expected.len(), "{run}: steps");
            let largest = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
            let difference = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0f64, |max, x| if x > max || x.is_nan() { x } else { max });
            let error = difference / largest;
            assert!(
                error <= tolerance,
                "{run}: {name}: error {error:e}\n{found:?}\n{expected:?}"
            );
        }
    }
}

/// The micro-batches as rows of ids.
fn rows_of(fixtures: &Fixtures) -> String {
    let mut text = String::new();
    for index in 0..MICRO_BATCHES {
        let part = |name: &str| fixtures.rows(&format!("data.{index}.{name}"));
        for (input_ids, labels) in part("input_ids").iter().zip(part("labels")) {
            let row = serde_json::json!({"input_ids": input_ids, "labels": labels});
            text.push_str(&format!("{row}\n"));
        }
    }
    text
}

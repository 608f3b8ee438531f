//! `adapter_config.json` of a LoRA adapter.

use std::path::Path;

use serde_json::{Map, Number, Value, json};

use super::pattern::{Patterns, TargetModules};
use crate::checkpoint::write_json;
use crate::error::{Error, Result};
use crate::files::read_object;

/// File of PEFT's settings.
pub(super) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Keys that say nothing about what a finished adapter computes: how it was made, what PEFT should do
/// with it, and which modules were chosen (those that have factors in the file).
const WITHOUT_EFFECT: [&str; 19] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
];

/// Keys that are read below.
const READ: [&str; 9] = [
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "lora_alpha",
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
    "fan_in_fan_out",
];

/// The settings of a LoRA adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// `r`: the rank, where `rank_pattern` names no other.
    pub rank: usize,
    /// `lora_alpha`, where `alpha_pattern` names no other.
    pub alpha: f64,
    /// `lora_dropout`: matters in training only.
    pub dropout: f64,
    /// `target_modules`. When an adapter is read, the factors in its file decide.
    pub target_modules: TargetModules,
    /// `rank_pattern`: ranks of some modules.
    pub rank_pattern: Patterns<usize>,
    /// `alpha_pattern`: alphas of some modules.
    pub alpha_pattern: Patterns<f64>,
    /// `use_rslora`: divide by the square root of the rank.
    pub use_rslora: bool,
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// `revision` of the base model.
    pub revision: Option<String>,
}

impl LoraConfig {
    /// Settings with nothing special: no dropout, no patterns, alpha divided by the rank.
    pub fn new(rank: usize, alpha: f64, target_modules: TargetModules) -> Self {
        Self {
            rank,
            alpha,
            dropout: 0.0,
            target_modules,
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            use_rslora: false,
            base_model: None,
            revision: None,
        }
    }

    /// The rank of the factors at a module.
    pub fn rank(&self, module: &str) -> usize {
        self.rank_pattern.get(module).copied().unwrap_or(self.rank)
    }

    /// The factor of `B·A` at a module whose factors have the given rank.
    pub fn scaling(&self, module: &str, rank: usize) -> f64 {
        let alpha = self
            .alpha_pattern
            .get(module)
            .copied()
            .unwrap_or(self.alpha);
        let rank = rank as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Reads `adapter_config.json` of a directory, as PEFT writes it since 0.5.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] with all keys whose values change what the adapter computes in a way that is not
    /// supported; [`Error::Io`] and [`Error::Json`] if the file cannot be read or parsed.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(ADAPTER_CONFIG);
        let object = read_object(&path)?;
        Self::from_json(&object).map_err(|faults| {
            let list = faults.join("\n  ");
            Error::directory(
                &path,
                format!("{} setting(s) cannot be used:\n  {list}", faults.len()),
            )
        })
    }

    /// Writes `adapter_config.json` into a directory, for PEFT 0.5 and later.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the directory cannot be written to.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(ADAPTER_CONFIG), &self.to_json())
    }

    fn from_json(object: &Map<String, Value>) -> std::result::Result<Self, Vec<String>> {
        let mut reader = Reader {
            object,
            faults: Vec::new(),
        };
        let config = Self {
            rank: reader.rank(),
            alpha: reader.alpha(),
            dropout: reader
                .get("lora_dropout")
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
            target_modules: reader.target_modules(),
            rank_pattern: reader.patterns("rank_pattern", "whole numbers from 1", |value| {
                value
                    .as_u64()
                    .filter(|&rank| rank > 0)
                    .map(|rank| rank as usize)
            }),
            alpha_pattern: reader.patterns("alpha_pattern", "numbers", Value::as_f64),
            use_rslora: reader.flag("use_rslora"),
            base_model: reader.text("base_model_name_or_path"),
            revision: reader.text("revision"),
        };
        reader.check_fixed();
        reader.check_rest();
        if reader.faults.is_empty() {
            Ok(config)
        } else {
            Err(reader.faults)
        }
    }

    fn to_json(&self) -> Value {
        let target_modules = match &self.target_modules {
            TargetModules::Names(names) => json!(names),
            TargetModules::Expression(text, _) => json!(text),
            TargetModules::AllLinear => json!("all-linear"),
        };
        let ranks: Map<_, _> = self
            .rank_pattern
            .entries()
            .map(|(pattern, &rank)| (pattern.to_owned(), rank.into()))
            .collect();
        let alphas: Map<_, _> = self
            .alpha_pattern
            .entries()
            .map(|(pattern, &alpha)| (pattern.to_owned(), number(alpha)))
            .collect();
        json!({
            "alpha_pattern": alphas,
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model.as_deref().unwrap_or(""),
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": number(self.alpha),
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": ranks,
            "revision": self.revision,
            "target_modules": target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.use_rslora,
        })
    }
}

/// A whole number without a decimal point: PEFT's alphas are integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        Value::Number(Number::from(value as i64))
    } else {
        json!(value)
    }
}

/// Reads keys and collects what is wrong with them.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A key's value; null is as good as nothing.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn fault(&mut self, key: &str, expected: &str) {
        let found = match self.object.get(key) {
            Some(value) => shorten(&value.to_string()),
            None => "nothing".to_owned(),
        };
        self.faults
            .push(format!("`{key}`: found {found}, expected {expected}"));
    }

    fn rank(&mut self) -> usize {
        match self.get("r").and_then(Value::as_u64) {
            Some(rank) if rank > 0 && rank <= u32::MAX.into() => rank as usize,
            _ => {
                self.fault("r", "a whole number from 1");
                1
            }
        }
    }

    fn alpha(&mut self) -> f64 {
        self.get("lora_alpha")
            .and_then(Value::as_f64)
            .unwrap_or_else(|| {
                self.fault("lora_alpha", "a number");
                1.0
            })
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.fault(key, "true or false");
                false
            }
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        let text = self.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn target_modules(&mut self) -> TargetModules {
        let parsed = match self.get("target_modules") {
            Some(Value::Array(names)) => {
                let names: Option<Vec<_>> = names.iter().map(Value::as_str).collect();
                names
                    .map(TargetModules::names)
                    .ok_or_else(|| "a list of names".to_owned())
            }
            Some(Value::String(text)) => TargetModules::parse(text),
            _ => Err("a list of names, an expression or \"all-linear\"".to_owned()),
        };
        parsed.unwrap_or_else(|expected| {
            self.fault("target_modules", &expected);
            TargetModules::AllLinear
        })
    }

    fn patterns<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Patterns<T> {
        let entries = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Object(entries)) => entries
                .iter()
                .map(|(pattern, value)| Some((pattern.clone(), read(value)?)))
                .collect(),
            Some(_) => None,
        };
        let Some(entries) = entries else {
            self.fault(key, &format!("an object of {expected}"));
            return Patterns::default();
        };
        Patterns::new(entries).unwrap_or_else(|reason| {
            self.fault(key, &format!("regular expressions: {reason}"));
            Patterns::default()
        })
    }

    /// Keys that have one value with which glmtune computes the same as PEFT.
    fn check_fixed(&mut self) {
        if self.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            self.fault("peft_type", "\"LORA\"");
        }
        if self.get("bias").is_some_and(|bias| bias != "none") {
            self.fault("bias", "\"none\"");
        }
        if self.flag("fan_in_fan_out") {
            self.fault("fan_in_fan_out", "false");
        }
        let unchanged_base = match self.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => true,
            Some(Value::String(name)) => matches!(name.as_str(), "gaussian" | "eva" | "orthogonal"),
            Some(_) => false,
        };
        if !unchanged_base {
            let expected = "true, false, \"gaussian\", \"eva\" or \"orthogonal\": the others change the base \
                            weights (PEFT can convert such an adapter when it saves it)";
            self.fault("init_lora_weights", expected);
        }
    }

    /// Everything else must be off: a later PEFT may have put a meaning there that is not known here.
    fn check_rest(&mut self) {
        let rest: Vec<_> = self
            .object
            .iter()
            .filter(|(key, value)| {
                let known = READ.contains(&key.as_str()) || WITHOUT_EFFECT.contains(&key.as_str());
                !known && !is_off(value)
            })
            .map(|(key, _)| key.as_str())
            .collect();
        for key in rest {
            self.fault(key, "null, false or nothing: it may change what the adapter computes and is not supported");
        }
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// What PEFT 0.21 writes for an ordinary adapter.
    fn current() -> Map<String, Value> {
        let value = json!({
            "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
            "base_model_name_or_path": "THUDM/chatglm3-6b", "bias": "none", "corda_config": null,
            "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null,
            "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
            "kasa_config": null, "layer_replication": null, "layers_pattern": null,
            "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 32, "lora_bias": false,
            "lora_dropout": 0.1, "lora_ga_config": null, "megatron_config": null,
            "megatron_core": "megatron.core", "modules_to_save": null, "monteclora_config": null,
            "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 8,
            "rank_pattern": {}, "revision": null, "target_modules": ["query_key_value"],
            "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null,
            "use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false,
            "velora_config": null
        });
        match value {
            Value::Object(object) => object,
            _ => unreachable!(),
        }
    }

    fn with(changes: &[(&str, Value)]) -> std::result::Result<LoraConfig, Vec<String>> {
        let mut object = current();
        for (key, value) in changes {
            object.insert((*key).to_owned(), value.clone());
        }
        LoraConfig::from_json(&object)
    }

    #[test]
    fn the_current_form_is_read() {
        let config = with(&[]).unwrap();
        assert_eq!((config.rank, config.alpha, config.dropout), (8, 32.0, 0.1));
        assert_eq!(config.base_model.as_deref(), Some("THUDM/chatglm3-6b"));
        assert_eq!(config.scaling("a.query_key_value", 8), 4.0);
    }

    #[test]
    fn scaling_follows_peft() {
        let config = with(&[
            ("rank_pattern", json!({"dense": 4})),
            ("alpha_pattern", json!({"mlp.dense": 6})),
            ("use_rslora", json!(true)),
        ])
        .unwrap();
        assert_eq!(config.rank("x.mlp.dense"), 4);
        assert_eq!(config.rank("x.query_key_value"), 8);
        assert_eq!(config.scaling("x.mlp.dense", 4), 3.0);
        assert_eq!(config.scaling("x.self_attention.dense", 4), 16.0);
    }

    #[test]
    fn what_changes_the_mathematics_is_refused_by_name_all_together() {
        let changes = [
            ("use_dora", json!(true)),
            ("bias", json!("lora_only")),
            ("modules_to_save", json!(["lm_head"])),
            ("fan_in_fan_out", json!(true)),
            ("lora_bias", json!(true)),
            ("layer_replication", json!([[0, 4]])),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["w"])),
            ("use_qalora", json!(true)),
            ("kasa_config", json!({"beta": 1e-4})),
            ("peft_type", json!("IA3")),
            ("from_the_future", json!(1)),
            ("r", json!(0)),
            ("lora_alpha", json!("x")),
            ("target_modules", json!(3)),
            ("rank_pattern", json!({"dense": 0})),
            ("alpha_pattern", json!({"(": 1})),
            ("use_rslora", json!(1)),
        ];
        let faults = with(&changes).expect_err("must be refused");
        assert_eq!(faults.len(), changes.len(), "{faults:#?}");
        for (key, _) in changes {
            let start = format!("`{key}`: found ");
            assert!(
                faults.iter().any(|fault| fault.starts_with(&start)),
                "{key}"
            );
        }
    }

    #[test]
    fn initialisations() {
        for (value, fine) in [
            (json!(false), true),
            (json!("gaussian"), true),
            (json!(null), true),
            (json!("pissa"), false),
            (json!("pissa_niter_4"), false),
            (json!("olora"), false),
            (json!("corda"), false),
            (json!("loftq"), false),
        ] {
            assert_eq!(
                with(&[("init_lora_weights", value.clone())]).is_ok(),
                fine,
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let config = LoraConfig {
            dropout: 0.05,
            rank_pattern: Patterns::new([("dense".to_owned(), 2)]).unwrap(),
            alpha_pattern: Patterns::new([("dense".to_owned(), 2.5)]).unwrap(),
            use_rslora: true,
            base_model: Some("base".to_owned()),
            ..LoraConfig::new(4, 16.0, TargetModules::parse(".*dense").unwrap())
        };
        config.write(folder.path()).unwrap();
        assert_eq!(LoraConfig::read(folder.path()).unwrap(), config);
    }
}

//! `adapter_config.json` of a LoRA adapter.

use std::path::Path;

use serde_json::{Map, Number, Value, json};

use super::pattern::{Patterns, TargetModules};
use crate::checkpoint::write_json;
use crate::error::Result;
use crate::files::read_object;
use crate::json_settings::{self, FLAG, Form, NUMBER, STRING, Section};

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
    /// [`Error::Config`](crate::Error::Config) with all keys whose values change what the adapter computes in a
    /// way that is not supported; otherwise as [`read_object`].
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(ADAPTER_CONFIG);
        Self::from_json(&read_object(&path)?, &path)
    }

    /// Writes `adapter_config.json` into a directory, for PEFT 0.5 and later.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the directory cannot be written to.
    pub fn write_file(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(ADAPTER_CONFIG), &self.to_json())
    }

    fn from_json(object: &Map<String, Value>, path: &Path) -> Result<Self> {
        let (config, _) = json_settings::read(object, path, |keys| {
            let config = Self::parse(keys);
            check_fixed(keys);
            check_rest(keys);
            config
        })?;
        Ok(config)
    }

    fn parse(keys: &mut Section<'_>) -> Self {
        let name = |name: Option<String>| name.filter(|name| !name.is_empty());
        Self {
            rank: keys.require("r", &RANK).unwrap_or(1),
            alpha: keys.require("lora_alpha", &ALPHA).unwrap_or(1.0),
            dropout: keys.read_or("lora_dropout", &NUMBER, 0.0),
            target_modules: target_modules(keys),
            rank_pattern: patterns(keys, "rank_pattern", &RANK, "whole numbers from 1"),
            alpha_pattern: patterns(keys, "alpha_pattern", &ALPHA, "numbers"),
            use_rslora: keys.read_or("use_rslora", &FLAG, false),
            base_model: name(keys.read("base_model_name_or_path", &STRING)),
            revision: name(keys.read("revision", &STRING)),
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

const RANK: Form<usize> = Form {
    expected: "a whole number from 1",
    read: |value| {
        let rank = u32::try_from(value.as_u64()?).ok()?;
        (rank > 0).then_some(rank as usize)
    },
};

const ALPHA: Form<f64> = Form {
    expected: "a number",
    read: Value::as_f64,
};

fn target_modules(keys: &mut Section<'_>) -> TargetModules {
    const KEY: &str = "target_modules";
    let value = keys.value(KEY);
    let parsed = match value {
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
        match value {
            Some(value) => keys.wrong(KEY, value, &expected),
            None => keys.wrong(KEY, "nothing", &expected),
        }
        TargetModules::AllLinear
    })
}

/// Values of a form by patterns of modules' names; `forms` says it of several.
fn patterns<T>(
    keys: &mut Section<'_>,
    key: &'static str,
    form: &Form<T>,
    forms: &str,
) -> Patterns<T> {
    let entries = keys.read_by(key, &format!("an object of {forms}"), |value| {
        let entries = value.as_object()?.iter();
        entries
            .map(|(pattern, value)| Some((pattern.clone(), (form.read)(value)?)))
            .collect::<Option<Vec<_>>>()
    });
    Patterns::new(entries.unwrap_or_default()).unwrap_or_else(|reason| {
        if let Some(value) = keys.value(key) {
            keys.wrong(key, value, &format!("regular expressions: {reason}"));
        }
        Patterns::default()
    })
}

/// Keys of which some values alone mean the same here as in PEFT.
fn check_fixed(keys: &mut Section<'_>) {
    keys.require("peft_type", &LORA);
    keys.only("bias", "none");
    keys.only("fan_in_fan_out", false);
    keys.read("init_lora_weights", &INITIALIZATION);
}

const LORA: Form<()> = Form {
    expected: "\"LORA\"",
    read: |value| (value == "LORA").then_some(()),
};

/// How the factors were initialized, if that left the base model as it was.
const INITIALIZATION: Form<()> = Form {
    expected: "true, false, \"gaussian\", \"eva\" or \"orthogonal\": the others change the base weights \
               (PEFT can convert such an adapter when it saves it)",
    read: |value| match value {
        Value::Bool(_) => Some(()),
        Value::String(name) => {
            matches!(name.as_str(), "gaussian" | "eva" | "orthogonal").then_some(())
        }
        _ => None,
    },
};

/// Everything else must be off: a later PEFT may have put a meaning there that is not known here.
fn check_rest(keys: &mut Section<'_>) {
    keys.accept(&WITHOUT_EFFECT);
    for (key, value) in keys.unknown() {
        if !is_off(value) {
            let expected = "null, false or nothing: it may change what the adapter computes and is not supported";
            keys.wrong(key, value, expected);
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

    fn with(changes: &[(&str, Value)]) -> Result<LoraConfig> {
        let mut object = current();
        for (key, value) in changes {
            object.insert((*key).to_owned(), value.clone());
        }
        LoraConfig::from_json(&object, Path::new(ADAPTER_CONFIG))
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
        let error = with(&changes).expect_err("must be refused");
        assert!(error.is_request());
        let message = error.to_string();
        let faults = message.matches("\n  key `").count();
        assert_eq!(faults, changes.len(), "{message}");
        for (key, _) in changes {
            let fault = format!("\n  key `{key}`: found ");
            assert!(message.contains(&fault), "{key}: {message}");
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
        config.write_file(folder.path()).unwrap();
        assert_eq!(LoraConfig::read(folder.path()).unwrap(), config);
    }
}

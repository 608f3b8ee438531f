//! The flags of what is trained, and their way to the settings of a method and back. The flags of an adapter have
//! the names of its settings.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use glmtune_model::adapters::{AdapterKind, AdapterSettings};
use glmtune_training::settings::Method;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::parse_bool::parse_bool;

/// What is trained, and how.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct MethodArgs {
    /// What is trained.
    #[arg(long, value_enum, default_value = "lora", help_heading = "Method")]
    pub train_type: TrainType,
    /// lora: rank [default: 8, or the --adapter's].
    #[arg(long, alias = "lora-r", value_name = "N", help_heading = "Method")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_dim: Option<usize>,
    /// lora: the adapter's output is scaled by alpha / rank [default: 30, or the --adapter's].
    #[arg(long, value_parser = parse_number, value_name = "X", help_heading = "Method")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<f64>,
    /// lora: share of the adapter's input that is dropped [default: 0.1, or the --adapter's].
    #[arg(long, value_parser = parse_number, value_name = "X", help_heading = "Method")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_dropout: Option<f64>,
    /// lora: linear layers that get an adapter, or all-linear [default: query_key_value, or the --adapter's].
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME,NAME",
        help_heading = "Method"
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lora_module_name: Vec<String>,
    /// freeze: parts of the names of those parameters that are trained.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "layers.27.",
        value_name = "PART,PART",
        help_heading = "Method"
    )]
    pub freeze_module_name: Vec<String>,
    /// ptuning: prefix positions [default: 16, or the --adapter's].
    #[arg(long, value_name = "N", help_heading = "Method")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_seq_len: Option<usize>,
    /// ptuning: whether an MLP follows the prefix's embedding (P-Tuning v2) [default: true, or the --adapter's].
    #[arg(
        long,
        value_parser = parse_bool,
        value_name = "true|false",
        help_heading = "Method"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_projection: Option<bool>,
    /// ptuning: share of the prefix that is dropped.
    #[arg(
        long,
        value_parser = parse_number,
        default_value = "0.1",
        value_name = "X",
        help_heading = "Method"
    )]
    pub prefix_dropout: f64,
}

impl MethodArgs {
    /// The flags that were given or have a default, by the names of the settings.
    pub fn values(&self) -> Map<String, Value> {
        let values = match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            // A struct of plain values becomes an object.
            _ => Map::new(),
        };
        values.into_iter().map(trimmed).collect()
    }

    /// These flags with settings in place of those of their names.
    ///
    /// # Errors
    /// If a value cannot be of its flag.
    pub fn with(&self, settings: Map<String, Value>) -> serde_json::Result<Self> {
        let mut values = self.values();
        values.extend(settings);
        serde_json::from_value(Value::Object(values))
    }

    /// The method.
    ///
    /// # Errors
    /// If a value cannot be of its setting.
    pub fn method(&self) -> glmtune_model::Result<Method> {
        Ok(match self.train_type {
            TrainType::Freeze => Method::Freeze {
                freeze_module_name: named(&self.freeze_module_name),
            },
            TrainType::All => Method::All,
            TrainType::Adapter(kind) => AdapterSettings::of(kind, self.values())?.into(),
        })
    }
}

/// Lists without what names nothing.
fn trimmed((name, value): (String, Value)) -> (String, Value) {
    let Value::Array(words) = value else {
        return (name, value);
    };
    let words: Vec<String> = words
        .iter()
        .filter_map(|word| word.as_str().map(str::to_string))
        .collect();
    (name, named(&words).into())
}

/// A trailing comma names nothing; an empty part would match everything.
fn named(names: &[String]) -> Vec<String> {
    let names = names.iter().map(|name| name.trim());
    let named = names.filter(|name| !name.is_empty());
    named.map(str::to_string).collect()
}

/// A number, finite.
fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "expected a number".to_string())
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainType {
    /// Parameters chosen by parts of their names.
    Freeze,
    /// An adapter.
    Adapter(AdapterKind),
    /// Every parameter.
    All,
}

const KINDS: usize = AdapterKind::ALL.len();

impl TrainType {
    /// All of them.
    pub const ALL: [Self; KINDS + 2] = {
        let mut all = [Self::Freeze; KINDS + 2];
        let mut index = 0;
        while index < KINDS {
            all[index + 1] = Self::Adapter(AdapterKind::ALL[index]);
            index += 1;
        }
        all[KINDS + 1] = Self::All;
        all
    };

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Adapter(kind) => kind.name(),
            Self::All => "all",
        }
    }

    /// Whether the outputs are adapters, not whole models.
    pub fn is_adapter(self) -> bool {
        matches!(self, Self::Adapter(_))
    }
}

impl ValueEnum for TrainType {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::Freeze => value.help("Parameters chosen by parts of their names"),
            Self::Adapter(kind) => value.help(kind.title()),
            Self::All => value.help("Every parameter"),
        })
    }
}

impl Serialize for TrainType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TrainType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("unknown method `{name}`")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        method: MethodArgs,
    }

    fn method(kind: TrainType, flags: &[&str]) -> Method {
        let line = ["x", "--train-type", kind.name()];
        let flags = Flags::parse_from(line.iter().chain(flags));
        flags.method.method().unwrap()
    }

    #[test]
    fn every_adapter_has_flags_and_takes_its_own_settings_back() {
        for kind in TrainType::ALL.into_iter().filter(|kind| kind.is_adapter()) {
            let found = method(kind, &[]);
            let settings = found.adapter().unwrap();
            let flags = Flags::parse_from(["x"]).method;
            let flags = flags.with(settings.values()).unwrap();
            assert_eq!(flags.method().unwrap(), found, "{}", kind.name());
            let names = flags.values();
            for name in settings.values().keys() {
                assert!(names.contains_key(name), "no flag of the name {name}");
            }
        }
    }

    #[test]
    fn lists_name_what_they_name() {
        let lora = TrainType::Adapter(AdapterKind::Lora);
        let found = method(
            lora,
            &["--lora_module_name".replace('_', "-").as_str(), " dense ,"],
        );
        let values = found.adapter().unwrap().values();
        assert_eq!(values["lora_module_name"], serde_json::json!(["dense"]));
    }
}

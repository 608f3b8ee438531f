//! The floating types that weights and activations have: one vocabulary for the command line, for
//! `config.json`, for files and for Burn.

use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use serde_json::{Map, Value};

use crate::checkpoint;
use crate::error::{Error, Result};

/// Keys of `config.json` that name the type of the weights; newer releases of `transformers` write the second.
pub const TYPE_KEYS: [&str; 2] = ["torch_dtype", "dtype"];

/// A type that a model can be stored and computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits with the exponent of [`F32`](Self::F32).
    Bf16,
    /// 16 bits of IEEE 754.
    F16,
}

impl FloatType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name that users write: `f32`, `bf16`, `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The name that stands in `config.json`: `float32`, `bfloat16`, `float16`.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// The type of a name in `config.json`, which may begin with `torch.`.
    pub fn of_config_name(name: &str) -> Option<Self> {
        let name = name.trim_start_matches("torch.");
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.config_name() == name)
    }

    /// Names this type in a model's settings: under each of the two keys that is there, or under the older
    /// one, which every release reads.
    pub fn write_to(self, config: &mut Map<String, Value>) {
        let [key, newer] = TYPE_KEYS;
        if config.contains_key(newer) {
            config.insert(newer.to_owned(), self.config_name().into());
        }
        if config.contains_key(key) || !config.contains_key(newer) {
            config.insert(key.to_owned(), self.config_name().into());
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Whether it has 16 bits.
    pub fn is_half(self) -> bool {
        self.size() == 2
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FloatType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|dtype| dtype.name() == name);
        found.ok_or_else(|| Error::Request(format!("`{name}` is not a type: f32, bf16 or f16")))
    }
}

impl From<FloatType> for DType {
    fn from(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F32 => Self::F32,
            FloatType::Bf16 => Self::BF16,
            FloatType::F16 => Self::F16,
        }
    }
}

impl From<FloatType> for checkpoint::DType {
    fn from(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F32 => Self::F32,
            FloatType::Bf16 => Self::BF16,
            FloatType::F16 => Self::F16,
        }
    }
}

impl TryFrom<DType> for FloatType {
    type Error = Error;

    fn try_from(dtype: DType) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|&float| DType::from(float) == dtype);
        found.ok_or_else(|| unsupported(dtype.name()))
    }
}

impl TryFrom<checkpoint::DType> for FloatType {
    type Error = Error;

    fn try_from(dtype: checkpoint::DType) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|&float| checkpoint::DType::from(float) == dtype);
        found.ok_or_else(|| unsupported(dtype.name()))
    }
}

fn unsupported(name: &str) -> Error {
    Error::Compute(format!(
        "{name} is not a type that models are computed in: f32, bf16 or f16"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_and_every_type_leads_back() {
        for dtype in FloatType::ALL {
            assert_eq!(dtype.name().parse::<FloatType>().unwrap(), dtype);
            assert_eq!(FloatType::of_config_name(dtype.config_name()), Some(dtype));
            let prefixed = format!("torch.{}", dtype.config_name());
            assert_eq!(FloatType::of_config_name(&prefixed), Some(dtype));
            let (burn, file) = (DType::from(dtype), checkpoint::DType::from(dtype));
            assert_eq!(FloatType::try_from(burn).unwrap(), dtype);
            assert_eq!(FloatType::try_from(file).unwrap(), dtype);
            assert_eq!((burn.size(), file.size()), (dtype.size(), dtype.size()));
            assert_eq!((burn.name(), file.name()), (dtype.name(), dtype.name()));
        }
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let of_burn = FloatType::try_from(DType::F64).map_err(|error| error.to_string());
        let of_file = FloatType::try_from(checkpoint::DType::I8).map_err(|error| error.to_string());
        assert!(of_burn.unwrap_err().starts_with("f64 is not a type"));
        assert!(of_file.unwrap_err().starts_with("i8 is not a type"));
        assert_eq!(FloatType::of_config_name("float64"), None);
        assert!("float32".parse::<FloatType>().is_err());
    }

    #[test]
    fn settings_name_the_type_under_every_key_that_they_have() {
        for (config, expected) in [
            (json!({}), json!({"torch_dtype": "bfloat16"})),
            (
                json!({"torch_dtype": "float16"}),
                json!({"torch_dtype": "bfloat16"}),
            ),
            (json!({"dtype": "float16"}), json!({"dtype": "bfloat16"})),
            (
                json!({"torch_dtype": null, "dtype": "float32"}),
                json!({"torch_dtype": "bfloat16", "dtype": "bfloat16"}),
            ),
        ] {
            let mut config = config.as_object().unwrap().clone();
            FloatType::Bf16.write_to(&mut config);
            assert_eq!(Value::Object(config), expected);
        }
    }
}

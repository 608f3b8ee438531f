//! The four families, as `--mode` names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The family that a tokenizer, a prompt and a row layout belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// ChatGLM-6B.
    Glm,
    /// ChatGLM2-6B.
    Glm2,
    /// ChatGLM3-6B.
    Glm3,
    /// GLM-4-9B.
    Glm4,
}

impl Mode {
    /// Every mode, oldest family first.
    pub const ALL: [Self; 4] = [Self::Glm, Self::Glm2, Self::Glm3, Self::Glm4];

    /// The name that `--mode` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glm => "glm",
            Self::Glm2 => "glm2",
            Self::Glm3 => "glm3",
            Self::Glm4 => "glm4",
        }
    }

    /// Whether prompts are made of role tokens (`<|user|>`, …) rather than of `[Round n]` text.
    pub fn has_roles(self) -> bool {
        matches!(self, Self::Glm3 | Self::Glm4)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Request`] for anything but the four names.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| {
                Error::Request(format!("mode `{name}`: expected glm, glm2, glm3 or glm4"))
            })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        }
        assert!("glm5".parse::<Mode>().is_err());
    }
}

//! What `rope_ratio` does: the one thing in a configuration that members of the family read in two ways.

use crate::config::ChatGlm2Config;
use crate::tokenizer::Mode;

/// Base of the rotary frequencies without a `rope_ratio`.
const BASE: f64 = 10_000.0;

/// How a model uses its `rope_ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeRatio {
    /// Positions are divided by it (ChatGLM2-32k; Chen et al. 2023).
    DividesPositions,
    /// The base of the frequencies is multiplied by it (ChatGLM3-32k and 128k, GLM-4).
    MultipliesBase,
}

impl RopeRatio {
    /// The use that a prompt mode stands for. ChatGLM2 and ChatGLM3 have the same configuration, so that
    /// nothing else tells them apart; without a mode, it is that of ChatGLM3 and later.
    pub fn of(mode: Option<Mode>) -> Self {
        match mode {
            Some(Mode::Glm2) => Self::DividesPositions,
            Some(Mode::Glm | Mode::Glm3 | Mode::Glm4) | None => Self::MultipliesBase,
        }
    }

    /// The rotary settings of a configuration.
    pub fn settings(self, config: &ChatGlm2Config) -> RopeSettings {
        let ratio = config.rope_ratio.unwrap_or(1.0);
        match self {
            Self::DividesPositions => RopeSettings {
                base: BASE,
                divisor: ratio,
            },
            Self::MultipliesBase => RopeSettings {
                base: BASE * ratio,
                divisor: 1.0,
            },
        }
    }
}

/// What the angles are computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSettings {
    /// Base of the frequencies.
    pub base: f64,
    /// What positions are divided by.
    pub divisor: f64,
}

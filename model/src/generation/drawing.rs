//! How tokens are drawn from the logits.

use super::options::{GenerationOptions, Sampling};

/// How tokens are drawn from the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Temperature and bounds; `None` always takes the likeliest.
    pub sampling: Option<Sampling>,
    /// What tokens that are already there lose.
    pub penalties: Penalties,
    /// What is added to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws; equal seeds give equal continuations.
    pub seed: u64,
    /// Number of the continuation among those of one seed, whose draws differ.
    pub number: u64,
}

impl Default for Drawing {
    /// The likeliest token each time.
    fn default() -> Self {
        Self {
            sampling: None,
            penalties: Penalties::default(),
            logit_bias: Vec::new(),
            seed: 1234,
            number: 0,
        }
    }
}

impl Drawing {
    /// What options ask for continuation `n` of a prompt, by the prompt's number: the first continuations of a prompt
    /// stay what they are when more of them are asked for.
    pub fn of(options: &GenerationOptions, (prompt, n): (usize, usize)) -> Self {
        Self {
            sampling: options.sampling.clone(),
            penalties: Penalties {
                repetition: options.repetition_penalty,
                ..Penalties::default()
            },
            logit_bias: Vec::new(),
            seed: options.seed,
            number: (prompt as u64) << 32 | n as u64,
        }
    }
}

/// What tokens that are already there lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Logits of tokens of prompt and continuation are divided by it if positive, multiplied if negative (Keskar et
    /// al. 2019); 1 changes nothing.
    pub repetition: f32,
    /// Taken from the logits of tokens of the continuation, as OpenAI's `presence_penalty`.
    pub presence: f32,
    /// Taken from the logits of tokens of the continuation each time that they are there, as OpenAI's
    /// `frequency_penalty`.
    pub frequency: f32,
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            repetition: 1.0,
            presence: 0.0,
            frequency: 0.0,
        }
    }
}

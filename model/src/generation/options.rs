//! What a generation is asked for.

use crate::error::{Error, Result};

/// How the next token is drawn from the logits, in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it.
    pub temperature: f32,
    /// Only this many of the likeliest tokens stay; 0 keeps all.
    pub top_k: usize,
    /// Only the likeliest tokens whose probabilities add up to this stay (Holtzman et al. 2020).
    pub top_p: f32,
}

impl Default for Sampling {
    /// The defaults of the published `chat`.
    fn default() -> Self {
        Self {
            temperature: 0.95,
            top_k: 50,
            top_p: 0.7,
        }
    }
}

/// What a generation is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// Most tokens to add to a prompt.
    pub max_new_tokens: usize,
    /// Before this many tokens, none of the stop tokens is drawn.
    pub min_new_tokens: usize,
    /// Longest prompt and continuation together; `None` sets no limit of its own.
    pub max_length: Option<usize>,
    /// How tokens are drawn; `None` always takes the likeliest.
    pub sampling: Option<Sampling>,
    /// Logits of tokens that are already there are divided by it if positive, multiplied if negative
    /// (Keskar et al. 2019); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Continuations per prompt.
    pub num_sequences: usize,
    /// Seed of the draws; equal seeds give equal continuations.
    pub seed: u64,
    /// Tokens that end a continuation; the one that does is not part of it.
    pub stop_ids: Vec<u32>,
    /// Whether keys and values are kept between steps. Without, every step computes the whole sequence.
    pub use_cache: bool,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 512,
            min_new_tokens: 0,
            max_length: None,
            sampling: None,
            repetition_penalty: 1.0,
            num_sequences: 1,
            seed: 1234,
            stop_ids: Vec::new(),
            use_cache: true,
        }
    }
}

impl GenerationOptions {
    /// Checks every option.
    ///
    /// # Errors
    /// Names all options that are out of range.
    pub fn validate(&self) -> Result<()> {
        let sampling = self.sampling.clone().unwrap_or_default();
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let checks = [
            (self.max_new_tokens > 0, "max_new_tokens must be at least 1"),
            (
                self.min_new_tokens <= self.max_new_tokens,
                "min_new_tokens must be at most max_new_tokens",
            ),
            (
                self.num_sequences > 0,
                "num_return_sequences must be at least 1",
            ),
            (
                positive(self.repetition_penalty),
                "repetition_penalty must be greater than 0",
            ),
            (
                positive(sampling.temperature),
                "temperature must be greater than 0 (for the likeliest token each time, do not draw: leave the flags of \
                 drawing out, and in a chat give --greedy)",
            ),
            (
                sampling.top_p > 0.0 && sampling.top_p <= 1.0,
                "top_p must be greater than 0 and at most 1",
            ),
        ];
        let faults: Vec<&str> = checks
            .iter()
            .filter(|(holds, _)| !holds)
            .map(|(_, fault)| *fault)
            .collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Request(faults.join("; "))),
        }
    }
}

//! How many tokens of prompts a step computes.

use std::time::Duration;

/// While others wait for their next token, prompts take about so long of a step.
const WAIT: Duration = Duration::from_millis(250);
/// Fewer tokens are not worth a pass.
const LEAST: usize = 16;

/// How fast prompts are computed, and what that leaves room for.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    /// Tokens of prompts per second, of late.
    rate: Option<f64>,
}

impl Pace {
    /// A step computes at most so many tokens of prompts.
    pub fn new(most: usize) -> Self {
        Self { most, rate: None }
    }

    /// Tokens of prompts for the next step.
    pub fn budget(&self, others_wait: bool) -> usize {
        match (others_wait, self.rate) {
            (false, _) => self.most,
            (true, None) => LEAST.min(self.most),
            (true, Some(rate)) => {
                let tokens = (rate * WAIT.as_secs_f64()) as usize;
                tokens.clamp(LEAST.min(self.most), self.most)
            }
        }
    }

    /// Takes note of a step.
    pub fn note(&mut self, prompt_tokens: usize, time: Duration) {
        if prompt_tokens < LEAST || time.is_zero() {
            return;
        }
        let rate = prompt_tokens as f64 / time.as_secs_f64();
        self.rate = Some(match self.rate {
            Some(before) => 0.7 * before + 0.3 * rate,
            None => rate,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_leave_others_their_tokens() {
        let mut pace = Pace::new(512);
        assert_eq!((pace.budget(false), pace.budget(true)), (512, 16));
        pace.note(400, Duration::from_secs(2));
        assert_eq!((pace.budget(false), pace.budget(true)), (512, 50));
        pace.note(3, Duration::from_secs(9));
        assert_eq!(pace.budget(true), 50);
        pace.note(100_000, Duration::from_secs(1));
        assert_eq!(pace.budget(true), 512);
    }
}

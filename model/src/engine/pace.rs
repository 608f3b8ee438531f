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

/// How a budget is shared out among prompts, of which so many tokens are left: the same for all, but what a short one
/// does not need goes to the others, so that a short prompt does not wait for a long one before it.
pub(super) fn shares(lengths: &[usize], budget: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len())
        .filter(|&index| lengths[index] > 0)
        .collect();
    order.sort_by_key(|&index| (lengths[index], index));
    let mut shares = vec![0; lengths.len()];
    let (mut left, mut others) = (budget, order.len());
    for index in order {
        let share = left.div_ceil(others.max(1)).max(LEAST);
        shares[index] = share.min(lengths[index]).min(left);
        left -= shares[index];
        others -= 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_prompts_do_not_wait_for_long_ones() {
        assert_eq!(shares(&[6000, 0, 2], 512), [510, 0, 2]);
        assert_eq!(shares(&[300, 300, 300], 512), [171, 171, 170]);
        assert_eq!(shares(&[100, 1000, 300], 512), [100, 206, 206]);
        // Fewer tokens than are worth a pass are nobody's.
        assert_eq!(shares(&[50; 4], 20), [16, 4, 0, 0]);
        assert_eq!(shares(&[], 5), [0; 0]);
    }

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

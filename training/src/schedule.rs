//! The learning rate of each update.

use serde::Serialize;

/// How the rate rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// With the logarithm of the step.
    #[default]
    Log,
    /// In a straight line.
    Linear,
}

/// What the rate does after its rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It falls in a straight line.
    #[default]
    Linear,
    /// It stays.
    None,
}

/// Warm-up and decay: DeepSpeed's `WarmupDecayLR`, and `WarmupLR` without decay.
///
/// With `w = max(2, warmup_steps)`, update `k` from 0: while `k < w`, `γ = ln(k+1)/ln(w)`, or `k/w` for a
/// linear warm-up; then `γ = max(0, (T-k)/max(1, T-w))`, or 1 without decay. The rate is
/// `min + (max - min)·γ`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmupDecay {
    /// Where the rate starts and ends.
    pub min: f64,
    /// The highest rate.
    pub max: f64,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// How the rate rises.
    pub warmup: Warmup,
    /// What it does then.
    pub decay: Decay,
}

impl WarmupDecay {
    /// The learning rate of update `k`, counted from 0.
    pub fn rate(&self, k: u64) -> f64 {
        self.min + (self.max - self.min) * self.gamma(k)
    }

    fn gamma(&self, k: u64) -> f64 {
        let warmup = self.warmup_steps.max(2);
        match (k < warmup, self.warmup, self.decay) {
            (true, Warmup::Log, _) => ((k + 1) as f64).ln() / (warmup as f64).ln(),
            (true, Warmup::Linear, _) => k as f64 / warmup as f64,
            (false, _, Decay::None) => 1.0,
            (false, _, Decay::Linear) => {
                let left = self.total_steps.saturating_sub(k) as f64;
                left / self.total_steps.saturating_sub(warmup).max(1) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_maximum_and_falls_to_the_minimum() {
        let schedule = WarmupDecay {
            min: 1e-4,
            max: 1e-3,
            warmup_steps: 3,
            total_steps: 12,
            warmup: Warmup::Log,
            decay: Decay::Linear,
        };
        let rates: Vec<f64> = (0..13).map(|k| schedule.rate(k)).collect();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(rates[0], 1e-4);
        close(rates[1], 1e-4 + 9e-4 * 2f64.ln() / 3f64.ln());
        close(rates[2], 1e-3);
        close(rates[3], 1e-3);
        close(rates[4], 1e-4 + 9e-4 * 8.0 / 9.0);
        close(rates[11], 1e-4 + 9e-4 / 9.0);
        close(rates[12], 1e-4);
    }

    #[test]
    fn without_decay_the_rate_stays() {
        let schedule = WarmupDecay {
            min: 0.0,
            max: 1.0,
            warmup_steps: 4,
            total_steps: 10,
            warmup: Warmup::Linear,
            decay: Decay::None,
        };
        let rates: Vec<f64> = [0, 1, 2, 3, 4, 9].map(|k| schedule.rate(k)).to_vec();
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn short_runs_stay_finite() {
        for (warmup_steps, total_steps) in [(0, 0), (0, 1), (5, 3), (2, 2)] {
            let schedule = WarmupDecay {
                min: 0.1,
                max: 1.0,
                warmup_steps,
                total_steps,
                warmup: Warmup::Log,
                decay: Decay::Linear,
            };
            for k in 0..6 {
                let rate = schedule.rate(k);
                assert!((0.1..=1.0 + 1e-9).contains(&rate), "{rate}");
            }
        }
    }
}

//! The time of a whole run.

use super::clock::Clock;
use crate::cli::BenchArgs;

/// Seconds of a run, and of a profile, where none are given.
const SECONDS: f64 = 100.0;
const PROFILE_SECONDS: f64 = 420.0;
/// What is at work when the time is up has this much longer, in seconds.
const GRACE: f64 = 15.0;

/// The time of a whole run.
#[derive(Debug, Clone, Copy)]
pub struct Budget(Clock);

impl Budget {
    /// The time of the flags, from now on.
    pub fn start(args: &BenchArgs) -> Self {
        let default = match args.profile {
            Some(_) => PROFILE_SECONDS,
            None => SECONDS,
        };
        Self(Clock::start(args.seconds.unwrap_or(default)))
    }

    /// Whether nothing more is begun.
    pub fn is_spent(&self) -> bool {
        self.0.left() <= 0.0
    }

    /// Seconds for one of so many measurements that are still to come.
    pub fn share(&self, waiting: usize) -> f64 {
        self.0.left() / waiting.max(1) as f64
    }

    /// When the measurement at work must have ended.
    pub fn limit(&self) -> Clock {
        Clock::start(self.0.left() + GRACE)
    }
}

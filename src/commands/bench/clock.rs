//! Repetitions within a time: the first is told apart, since kernels are compiled and memory is asked for in it.

use std::time::Instant;

use super::measured::{Found, Spread};
use crate::commands::error::Result;

/// Repetitions that are enough.
pub const MOST: usize = 30;
/// Shorter than this, several make one repetition, so that waiting for the device counts little.
const SHORT: f64 = 2e-3;
/// Most that make one.
const TOGETHER: f64 = 200.0;

/// Time for a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    seconds: f64,
}

impl Clock {
    /// So many seconds from now on.
    pub fn start(seconds: f64) -> Self {
        Self {
            started: Instant::now(),
            seconds,
        }
    }

    /// A share of what is left, for one of so many things that are still to be measured.
    pub fn share(&self, of: usize) -> Self {
        Self::start(self.left() / of.max(1) as f64)
    }

    /// Seconds that are left.
    pub fn left(&self) -> f64 {
        (self.seconds - self.started.elapsed().as_secs_f64()).max(0.0)
    }

    /// Whether another repetition is to follow these: the first one does not count, one more there is at least, and one
    /// that would probably not end in time is not begun.
    pub fn goes_on(&self, seconds: &[f64]) -> bool {
        match seconds {
            [] | [_] => true,
            [_, counted @ ..] if counted.len() >= MOST => false,
            [_, counted @ ..] => Spread::of(counted).median <= self.left(),
        }
    }

    /// Does something again and again; it waits itself until it is done.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn repeat(&self, name: &str, mut work: impl FnMut() -> Result<()>) -> Result<Found> {
        self.repeat_with(name, || Ok(()), |()| work())
    }

    /// The same of something that needs a preparation, which does not count.
    ///
    /// # Errors
    /// Those of preparation and work.
    pub fn repeat_with<T>(
        &self,
        name: &str,
        mut prepare: impl FnMut() -> Result<T>,
        mut work: impl FnMut(T) -> Result<()>,
    ) -> Result<Found> {
        let mut seconds = Vec::new();
        while self.goes_on(&seconds) {
            let prepared = prepare()?;
            let started = Instant::now();
            work(prepared)?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        Ok(Found::of(name, &seconds))
    }

    /// The same of something that may be short: `work` gives it to the device, `wait` waits for the device.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn repeat_short(
        &self,
        name: &str,
        mut work: impl FnMut(),
        mut wait: impl FnMut() -> Result<()>,
    ) -> Result<Found> {
        let mut together = 1.0;
        let mut seconds = Vec::new();
        while self.goes_on(&seconds) {
            let started = Instant::now();
            for _ in 0..together as usize {
                work();
            }
            wait()?;
            let each = started.elapsed().as_secs_f64() / together;
            seconds.push(each);
            if let [_, second] = seconds[..] {
                together = (SHORT / second.max(1e-9)).ceil().clamp(1.0, TOGETHER);
            }
        }
        Ok(Found::of(name, &seconds))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_repetition_beside_the_first_and_never_too_many() {
        let none = Clock::start(0.0);
        let mut count = 0;
        let found = none.repeat("x", || {
            count += 1;
            Ok(())
        });
        assert_eq!((count, found.unwrap().repetitions), (2, 1));
        let long = Clock::start(1000.0);
        assert_eq!(long.repeat("x", || Ok(())).unwrap().repetitions, MOST);
        assert!(!long.goes_on(&[1.0, 2000.0]));
        assert!(long.goes_on(&[2000.0, 1.0]));
        assert!(long.share(4).left() <= 250.0);
    }
}

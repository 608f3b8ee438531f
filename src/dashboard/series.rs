//! A number over the steps, in bounded memory: neighbours are merged, extremes stay.

/// Stretches that are kept at most; a screen has fewer points across.
const CAPACITY: usize = 2048;

/// Neighbouring steps as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Its last step.
    pub step: u64,
    /// Its least value.
    pub low: f64,
    /// Its greatest value.
    pub high: f64,
    /// The moving average at its end.
    pub smooth: f64,
}

/// A number over the steps, with its moving average.
#[derive(Debug, Clone)]
pub struct Series {
    stretches: Vec<Stretch>,
    /// Steps of a whole stretch.
    width: u64,
    /// Steps in the last stretch.
    filled: u64,
    average: Average,
}

impl Series {
    /// A series whose moving average spans a number of steps.
    pub fn new(span: f64) -> Self {
        Self {
            stretches: Vec::new(),
            width: 1,
            filled: 1,
            average: Average::new(span),
        }
    }

    /// Adds a step; a value that is not finite is left out.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let next = Stretch {
            step,
            low: value,
            high: value,
            smooth: self.average.push(value),
        };
        match self.stretches.last_mut() {
            Some(last) if self.filled < self.width => {
                *last = merged(*last, next);
                self.filled += 1;
            }
            _ => {
                self.stretches.push(next);
                self.filled = 1;
            }
        }
        if self.stretches.len() > CAPACITY {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let is_odd = self.stretches.len() % 2 == 1;
        let pairs = self.stretches.chunks(2);
        self.stretches = pairs
            .map(|pair| pair.iter().copied().reduce(merged).unwrap_or(pair[0]))
            .collect();
        self.filled += if is_odd { 0 } else { self.width };
        self.width *= 2;
    }

    /// What there is to draw, in the order of the steps.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The moving average at the last step.
    pub fn smooth(&self) -> Option<f64> {
        self.stretches.last().map(|last| last.smooth)
    }

    /// Values for so many columns, the last of them the newest: the averages.
    pub fn columns(&self, count: usize) -> Vec<f64> {
        let len = self.stretches.len();
        let shown = count.min(len);
        (0..shown)
            .map(|column| self.stretches[(column + 1) * len / shown - 1].smooth)
            .collect()
    }
}

fn merged(first: Stretch, second: Stretch) -> Stretch {
    Stretch {
        step: second.step,
        low: first.low.min(second.low),
        high: first.high.max(second.high),
        smooth: second.smooth,
    }
}

/// An exponential moving average, corrected for its start.
#[derive(Debug, Clone, Copy)]
struct Average {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Average {
    fn new(span: f64) -> Self {
        Self {
            keep: 1.0 - 2.0 / (span.max(1.0) + 1.0),
            sum: 0.0,
            weight: 0.0,
        }
    }

    fn push(&mut self, value: f64) -> f64 {
        self.sum = self.keep * self.sum + (1.0 - self.keep) * value;
        self.weight = self.keep * self.weight + (1.0 - self.keep);
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_stays_small_and_keeps_its_spikes() {
        let mut series = Series::new(20.0);
        for step in 1..=100_000u64 {
            let spike = if step == 777 { 100.0 } else { 0.0 };
            series.push(step, 1.0 + spike);
        }
        let stretches = series.stretches();
        assert!((CAPACITY / 2..=CAPACITY).contains(&stretches.len()));
        assert!(stretches.is_sorted_by(|a, b| a.step < b.step));
        assert_eq!(stretches.last().map(|last| last.step), Some(100_000));
        assert_eq!(stretches.iter().filter(|one| one.high > 50.0).count(), 1);
        assert!((series.smooth().unwrap_or(0.0) - 1.0).abs() < 1e-6);
        assert_eq!(series.columns(10).len(), 10);
    }

    #[test]
    fn the_average_starts_at_the_first_value() {
        let mut series = Series::new(20.0);
        assert_eq!(series.smooth(), None);
        assert!(series.columns(5).is_empty());
        series.push(1, f64::NAN);
        series.push(2, 4.0);
        assert_eq!(series.smooth(), Some(4.0));
        series.push(3, f64::INFINITY);
        assert_eq!(series.columns(5), [4.0]);
        assert!(series.columns(0).is_empty());
    }
}

//! What a measurement has found, as its process hands it over.

use serde::{Deserialize, Serialize};

/// The durations of repetitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them were shorter.
    pub median: f64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// The spread of some durations; zeros of none.
    pub fn of(seconds: &[f64]) -> Self {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Self { median, min, max }
    }
}

/// How long something takes, and what is done in that time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What it is, where a measurement finds several; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The first time, which does not count.
    pub first_seconds: f64,
    /// How often it was done after that.
    pub repetitions: usize,
    /// How long it took.
    pub seconds: Spread,
    /// Tokens of a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// Its multiplications and additions in products.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<f64>,
    /// Bytes that it reads and writes at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
}

impl Found {
    /// Durations, of which the first does not count.
    pub fn of(name: &str, seconds: &[f64]) -> Self {
        let (first, counted) = seconds.split_first().unwrap_or((&0.0, &[]));
        Self {
            name: name.to_string(),
            first_seconds: *first,
            repetitions: counted.len(),
            seconds: Spread::of(counted),
            ..Self::default()
        }
    }

    /// With the tokens of a repetition.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens as f64);
        self
    }

    /// With its multiplications that have an addition each.
    #[must_use]
    pub fn products(mut self, products: f64) -> Self {
        self.operations = Some(2.0 * products);
        self
    }

    /// With the bytes that it reads and writes.
    #[must_use]
    pub fn bytes(mut self, bytes: f64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// A quantity of a repetition per second.
    pub fn rate(&self, quantity: Option<f64>) -> Option<f64> {
        let seconds = self.seconds.median;
        quantity.filter(|_| seconds > 0.0).map(|of| of / seconds)
    }
}

/// Everything that a measurement has found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The type that was computed in.
    pub dtype: String,
    /// Most memory of the process, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Memory that the device's pools have taken at most; none where it is the process's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_bytes: Option<u64>,
    /// What was found.
    pub measured: Vec<Found>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_does_not_count() {
        let found = Found::of("x", &[9.0, 1.0, 4.0, 2.0]).tokens(10);
        assert_eq!((found.first_seconds, found.repetitions), (9.0, 3));
        let expected = Spread {
            median: 2.0,
            min: 1.0,
            max: 4.0,
        };
        assert_eq!(found.seconds, expected);
        assert_eq!(found.rate(found.tokens), Some(5.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Found::of("x", &[]).rate(Some(1.0)), None);
    }
}

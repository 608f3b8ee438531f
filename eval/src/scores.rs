//! Named numbers in the order in which they are shown.

use serde::{Serialize, Serializer};

/// Scores by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores(Vec<(String, f64)>);

impl Scores {
    /// Puts a score in, in place of one of that name.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The score of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| *value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The mean of each score over rows; a row without a score does not count for it.
    pub fn means<'a>(rows: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut means = Self::default();
        for (name, _) in rows.clone().flat_map(Self::iter) {
            if means.get(name).is_some() {
                continue;
            }
            let values: Vec<f64> = rows.clone().filter_map(|row| row.get(name)).collect();
            means.set(name, mean(&values));
        }
        means
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Scores {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(scores: I) -> Self {
        let mut collected = Self::default();
        for (name, value) in scores {
            collected.set(name, value);
        }
        collected
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The mean of some values; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    match values.is_empty() {
        true => 0.0,
        false => values.iter().sum::<f64>() / values.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_score_does_not_count_for_it() {
        let rows = [
            Scores::from_iter([("f1", 1.0), ("x", 3.0)]),
            Scores::from_iter([("f1", 0.0)]),
        ];
        let means = Scores::means(rows.iter());
        assert_eq!(means.get("f1"), Some(0.5));
        assert_eq!(means.get("x"), Some(3.0));
        assert_eq!(means.get("y"), None);
    }
}

//! The marks of an axis: round numbers.

/// An axis from one round number to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// Where it begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Between two marks.
    pub step: f64,
}

impl Axis {
    /// An axis that holds these values, with at most so many marks.
    pub fn around(low: f64, high: f64, marks: usize) -> Self {
        let (low, high) = widened(low, high);
        let least = (high - low) / (marks.max(2) - 1) as f64;
        let mut step = round_up(least);
        loop {
            let axis = Self {
                low: (low / step).floor() * step,
                high: (high / step).ceil() * step,
                step,
            };
            if axis.intervals() < marks.max(3) || !step.is_finite() {
                return axis;
            }
            step = round_up(step * 1.01);
        }
    }

    fn intervals(&self) -> usize {
        ((self.high - self.low) / self.step).round() as usize
    }

    /// The marks, from the lowest.
    pub fn marks(&self) -> impl Iterator<Item = f64> + '_ {
        (0..=self.intervals()).map(|index| self.low + index as f64 * self.step)
    }

    /// A mark's label, with the decimals that tell it from its neighbours.
    pub fn label(&self, mark: f64) -> String {
        let decimals = -self.step.log10().floor();
        match decimals {
            ..=0.0 if mark.abs() < 1e6 => format!("{mark:.0}"),
            1.0..=4.0 => format!("{mark:.*}", decimals as usize),
            _ => format!("{mark:.1e}"),
        }
    }
}

/// Some height where there is none; nothing infinite.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let bound = |value: f64| value.clamp(-1e300, 1e300);
    let (low, high) = (bound(low), bound(high));
    match high - low > 1e-9 * high.abs().max(low.abs()).max(1e-290) {
        true => (low, high),
        false if high == 0.0 => (0.0, 1.0),
        false => (low - 0.1 * low.abs(), high + 0.1 * high.abs()),
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let found = [1.0, 2.0, 5.0, 10.0].iter().map(|digit| digit * power);
    found
        .into_iter()
        .find(|&step| step >= value * 0.999_999)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn round_numbers() {
        let axis = Axis::around(0.3, 4.4, 6);
        assert_eq!((axis.low, axis.high, axis.step), (0.0, 5.0, 1.0));
        assert_eq!(axis.marks().count(), 6);
        assert_eq!(axis.label(2.0), "2");
        assert_eq!(Axis::around(0.31, 0.38, 5).label(0.32), "0.32");
    }

    proptest! {
        #[test]
        fn any_values_have_an_axis(low in prop::num::f64::NORMAL, high in prop::num::f64::NORMAL, marks in 0usize..40) {
            let (low, high) = (low.min(high), low.max(high));
            let axis = Axis::around(low, high, marks);
            let count = axis.marks().take(100).count();
            prop_assert!((2..=marks.max(3)).contains(&count), "{axis:?}: {count} marks");
            prop_assert!(axis.marks().all(|mark| !axis.label(mark).is_empty()));
        }
    }
}

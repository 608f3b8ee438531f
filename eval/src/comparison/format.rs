//! Numbers for people.

use super::results::Spread;
use crate::bootstrap::Difference;

const KIB: f64 = 1024.0;

/// Three places after the point; counts as they are.
pub fn score(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() >= 2.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.3}"),
    }
}

/// What is left of something, in percent.
pub fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

/// A share in percent, which may be small.
pub fn share(value: f64) -> String {
    match value.abs() < 1.0 && value != 0.0 {
        true => format!("{value:.3} %"),
        false => format!("{value:.1} %"),
    }
}

/// A mean and its spread over seeds.
pub fn spread(spread: &Spread, number: fn(f64) -> String) -> String {
    match spread.sd {
        Some(sd) => format!("{} ± {}", number(spread.mean), number(sd)),
        None => number(spread.mean),
    }
}

/// A difference, its interval, and whether it may be noise.
pub fn difference(found: &Difference) -> String {
    let Difference { mean, low, high } = found;
    let doubt = if found.is_significant() {
        ""
    } else {
        ", could be noise"
    };
    format!("{mean:+.3} ({low:+.3} to {high:+.3}{doubt})")
}

/// Memory.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    let mut value = value / KIB;
    let mut unit = 0;
    while value >= KIB && unit + 1 < UNITS.len() {
        value /= KIB;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration.
pub fn seconds(value: f64) -> String {
    let whole = value.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{value:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A count, with spaces between thousands that no line breaks at.
pub fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(score(0.62831), "0.628");
        assert_eq!(score(12.0), "12");
        assert_eq!(share(0.0123), "0.012 %");
        assert_eq!(percent(98.44), "98.4 %");
        assert_eq!(seconds(75.2), "1 min 15 s");
        assert_eq!(seconds(3725.0), "1 h 02 min");
        assert_eq!(bytes(3.5 * 1024.0 * 1024.0), "3.5 MiB");
        assert_eq!(count(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(spread(&Spread::of(&[0.5, 0.7]), score), "0.600 ± 0.141");
    }
}

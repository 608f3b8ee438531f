//! Numbers in few characters.

/// Parameters: `124`, `1.9 M`, `6.2 B`.
pub fn parameters(count: usize) -> String {
    let count = count as f64;
    match count {
        0.0..1e4 => format!("{count}"),
        1e4..1e6 => format!("{:.0} K", count / 1e3),
        1e6..1e9 => format!("{:.1} M", count / 1e6),
        _ => format!("{:.1} B", count / 1e9),
    }
}

/// A share in per cent with two digits that say something.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        10.0.. => format!("{percent:.0} %"),
        1.0.. => format!("{percent:.1} %"),
        _ => format!("{percent:.2} %"),
    }
}

/// A loss or a norm in at most seven characters.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".to_string(),
        0.0 => "0".to_string(),
        0.001..10.0 => format!("{value:.4}"),
        10.0..1000.0 => format!("{value:.2}"),
        1000.0..100_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

/// A learning rate: `9.75e-4`.
pub fn rate(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_string(),
        0.0 => "0".to_string(),
        value => format!("{value:.2e}"),
    }
}

/// Tokens per second.
pub fn speed(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_string(),
        value if value < 100.0 => format!("{value:.1}"),
        value if value < 100_000.0 => format!("{value:.0}"),
        value => format!("{:.0} K", value / 1e3),
    }
}

/// A string of at most so many characters; it shows where it was cut.
pub fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    match width {
        0 => String::new(),
        _ => format!("{kept}…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_characters() {
        assert_eq!(parameters(124), "124");
        assert_eq!(parameters(1_949_696), "1.9 M");
        assert_eq!(parameters(6_243_584_000), "6.2 B");
        assert_eq!(percent(0.000_312), "0.03 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(short(2.345_678), "2.3457");
        assert_eq!(short(f64::NAN), "–");
        assert_eq!(short(1e-9), "1.0e-9");
        assert_eq!(rate(0.000_975), "9.75e-4");
        assert_eq!(speed(12_345.6), "12346");
        assert_eq!(fitted("abcdef", 4), "abc…");
        assert_eq!(fitted("abc", 0), "");
        for value in [1e-300, 1e300, -5.0, 99_999.9, 0.000_999_9, 9.999_99] {
            assert!(short(value).len() <= 8, "{}", short(value));
        }
    }
}

//! Numbers in cells: short for the eye, in full for who reads on.

use maud::{Markup, html};

use crate::bootstrap::Difference;
use crate::comparison::format;
use crate::comparison::results::Spread;

/// A number and how it is shown.
pub fn number(value: f64, shown: impl AsRef<str>) -> Markup {
    html! { data value=(value) { (shown.as_ref()) } }
}

/// A count.
pub fn count(value: u64) -> Markup {
    number(value as f64, format::count(value as f64))
}

/// A number that may be missing.
pub fn optional(value: Option<f64>, shown: fn(f64) -> String) -> Markup {
    match value {
        Some(value) => number(value, shown(value)),
        None => missing(),
    }
}

/// What is not there.
pub fn missing() -> Markup {
    html! { span class="none" { span aria-hidden="true" { "–" } span class="unseen" { "not measured" } } }
}

/// A mean and its standard deviation.
pub fn spread(spread: &Spread, shown: fn(f64) -> String) -> Markup {
    html! {
        (number(spread.mean, shown(spread.mean)))
        @if let Some(sd) = spread.sd { span class="minor" { " ± " (number(sd, shown(sd))) } }
    }
}

/// A difference and its interval.
pub fn difference(found: &Difference) -> Markup {
    let signed = |value: f64| number(value, format!("{value:+.3}"));
    html! {
        (signed(found.mean))
        span class="minor" { " (" (signed(found.low)) " to " (signed(found.high)) ")" }
        @if !found.is_significant() { span class="minor" { ", could be noise" } }
    }
}

/// A table that may be wider than the page: it scrolls by itself, also by keyboard.
pub fn scroll(label: &str, table: Markup) -> Markup {
    html! { div class="scroll" role="region" aria-label=(label) tabindex="0" { (table) } }
}

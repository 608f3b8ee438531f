//! Names and values of files in messages.

/// The most of a value that a message repeats.
const SHOWN: usize = 60;

/// A value of a file for a message: one line, without control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    let escaped: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    match text.chars().nth(SHOWN) {
        None => escaped,
        Some(_) => format!("{escaped}…"),
    }
}

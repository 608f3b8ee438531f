//! What the grammar engine says of an error, in a line.

/// Characters of a reason that are passed on.
const LONGEST: usize = 300;
/// What stands before the reason.
const PLACE: &str = "failed to compile JSON schema: ";

/// The reason in an error of the engine, which goes on with its state, the grammar and traces.
pub(super) fn reason(error: &str) -> String {
    let error = error.split_once(PLACE).map_or(error, |(_, rest)| rest);
    let mut lines = error.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    if first.starts_with("panic: ") {
        return "the grammar engine failed on it".to_string();
    }
    if first.contains("NoExtensionBias") {
        return "nothing that ends satisfies it".to_string();
    }
    // Of a regular expression: the expression, a mark under the place, and what is wrong there.
    let detail = match first.ends_with(':') {
        true => lines.find_map(|line| line.strip_prefix("error: ")),
        false => None,
    };
    let text = match detail {
        Some(detail) => format!("{first} {detail}"),
        None => first.to_string(),
    };
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_a_line() {
        let error = "at 2(7): failed to compile JSON schema: Unknown format: x\n<state>\nTokens: y";
        assert_eq!(reason(error), "Unknown format: x");
        let error = "regex parse error:\n    (\n    ^\nerror: unclosed group\n<non-verbose/>";
        assert_eq!(reason(error), "regex parse error: unclosed group");
        let error = "panic: attempt to multiply with overflow\n<backtrace>\n";
        assert_eq!(reason(error), "the grammar engine failed on it");
        assert_eq!(reason(""), "");
        assert_eq!(reason(&"日".repeat(1000)).chars().count(), LONGEST);
    }
}

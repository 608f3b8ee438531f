//! True and false on the command line.

/// Python's and everybody else's spelling.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
        _ => Err("expected true or false".to_string()),
    }
}

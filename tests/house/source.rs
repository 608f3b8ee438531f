//! Rust source without what is not code: comments, strings, and items for tests.

/// The code of a file.
pub fn code(text: &str) -> String {
    without_tests(&without_comments(text))
}

fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| string(rest, code.chars().next_back()));
        if let Some(length) = skipped {
            rest = &rest[length..];
            code.push(' ');
            continue;
        }
        code.push(first);
        rest = &rest[first.len_utf8()..];
    }
    code
}

/// The length of a comment that stands at the start.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let end = text.strip_prefix("/*")?.find("*/")?;
    Some(end + 4)
}

/// The length of a string or a character that stands at the start, after the character `before`.
fn string(text: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if !in_word && let Some(raw) = text.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(body) = raw[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return Some(2 + hashes + body.find(&end)? + end.len());
        }
    }
    if let Some(body) = text.strip_prefix('"') {
        return Some(2 + unescaped(body, '"')?);
    }
    let body = text.strip_prefix('\'')?;
    let first = body.chars().next()?;
    let is_character = first == '\\' || body[first.len_utf8()..].starts_with('\'');
    is_character
        .then(|| unescaped(body, '\''))
        .flatten()
        .map(|end| end + 2)
}

/// Where a character stands that no backslash escapes.
fn unescaped(text: &str, wanted: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == wanted => return Some(at),
            _ => {}
        }
    }
    None
}

fn without_tests(code: &str) -> String {
    let mut left = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
    {
        left.push_str(&rest[..start]);
        rest = &rest[start..];
        rest = &rest[item_length(rest)..];
    }
    left + rest
}

/// The length of an item with its attributes: up to its semicolon, or the end of its braces.
fn item_length(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn only_code_is_left() {
    let text = "use a::b; // use c\n/* use d */ let x = \"use \\\" e\"; let l: &'a str = r#\"f \"g\"#; '\\''; 'h';\n\
                #[cfg(test)]\nuse i::j;\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn k() {} }\nuse l;";
    let left = code(text);
    for kept in ["use a::b;", "&'a str", "use l;"] {
        assert!(left.contains(kept), "{left}");
    }
    for gone in ["use c", "use d", "e", "f", "g", "h", "use i", "mod"] {
        let words: Vec<&str> = left.split_whitespace().collect();
        assert!(!words.contains(&gone), "{gone}: {left}");
    }
    assert!(!left.contains("tests") && !left.contains("i::j"), "{left}");
}

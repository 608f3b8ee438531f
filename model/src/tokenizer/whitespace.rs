//! ChatGLM-6B's markers for whitespace, which its SentencePiece model would fold: `<n>` for a
//! newline, `<|tab|>` for a tab, `<|blank_k|>` for k = 2 … 80 spaces.

use std::borrow::Cow;

const NEWLINE: &str = "<n>";
const TAB: &str = "<|tab|>";
const BLANK: &str = "<|blank_";
const LONGEST_BLANK: usize = 80;

/// Writes whitespace as markers.
pub(super) fn mark(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\t']) && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    while let Some(at) = rest.find([' ', '\n', '\t']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let spaces = rest.bytes().take_while(|&byte| byte == b' ').count();
        match rest.as_bytes()[0] {
            b'\n' => out.push_str(NEWLINE),
            b'\t' => out.push_str(TAB),
            _ => push_blanks(&mut out, spaces),
        }
        rest = &rest[spaces.max(1)..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn push_blanks(out: &mut String, mut spaces: usize) {
    while spaces > 1 {
        let length = spaces.min(LONGEST_BLANK);
        out.push_str(&format!("{BLANK}{length}|>"));
        spaces -= length;
    }
    if spaces == 1 {
        out.push(' ');
    }
}

/// Undoes [`mark`], for literal markers in the text too.
pub(super) fn unmark(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match marker(rest) {
            Some((length, whitespace, count)) => {
                out.extend(std::iter::repeat_n(whitespace, count));
                length
            }
            None => {
                out.push('<');
                1
            }
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// The marker that `text` begins with: its length, and which whitespace it stands for, how often.
fn marker(text: &str) -> Option<(usize, char, usize)> {
    if text.starts_with(NEWLINE) {
        return Some((NEWLINE.len(), '\n', 1));
    }
    if text.starts_with(TAB) {
        return Some((TAB.len(), '\t', 1));
    }
    let (digits, _) = text.strip_prefix(BLANK)?.split_once("|>")?;
    let count: usize = digits.parse().ok()?;
    let is_canonical = count.to_string() == digits && (2..=LONGEST_BLANK).contains(&count);
    is_canonical.then_some((BLANK.len() + digits.len() + 2, ' ', count))
}

/// How much of the end of `text` may be the beginning of a marker.
pub(super) fn unfinished(text: &str) -> usize {
    let Some(at) = text.rfind('<') else { return 0 };
    let tail = &text[at..];
    let could_be = |marker: &str| marker.len() > tail.len() && marker.starts_with(tail);
    let may_grow = could_be(NEWLINE)
        || could_be(TAB)
        || (2..=LONGEST_BLANK).any(|count| could_be(&format!("{BLANK}{count}|>")));
    if may_grow { tail.len() } else { 0 }
}

/// Whether a marker that begins at the end of `before` ends in `next`, the bytes that follow it.
pub(crate) fn completes_marker(before: &[u8], next: &[u8]) -> bool {
    let Some(at) = before.iter().rposition(|&byte| byte == b'<') else {
        return false;
    };
    let Ok(tail) = std::str::from_utf8(&before[at..]) else {
        return false;
    };
    // A marker is of ASCII: what follows its beginning counts as far as it is that.
    let ascii = next.iter().take_while(|byte| byte.is_ascii());
    let rest: String = ascii.map(|&byte| char::from(byte)).collect();
    marker(&format!("{tail}{rest}")).is_some_and(|(length, ..)| length > tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_runs_go_first() {
        assert_eq!(mark("a b"), "a b");
        assert_eq!(mark("a  b\n\tc "), "a<|blank_2|>b<n><|tab|>c ");
        assert_eq!(mark(&" ".repeat(81)), "<|blank_80|> ");
        assert_eq!(
            mark(&" ".repeat(163)),
            "<|blank_80|><|blank_80|><|blank_3|>"
        );
    }

    #[test]
    fn markers_are_undone_and_others_kept() {
        for text in ["", " ", "x  y", "\n\n\t   ", &" ".repeat(200)] {
            assert_eq!(unmark(&mark(text)), text);
        }
        for text in [
            "<",
            "<|blank_1|>",
            "<|blank_81|>",
            "<|blank_02|>",
            "<|blank_+2|>",
            "<<N>",
        ] {
            assert_eq!(unmark(text), text);
        }
        assert_eq!(unmark("<<n>"), "<\n");
    }

    #[test]
    fn a_marker_of_several_tokens_is_seen() {
        assert!(completes_marker(b"a<", b"n>b"));
        assert!(completes_marker(b"<n", b">"));
        assert!(completes_marker(
            "问<|blank_".as_bytes(),
            "12|>你".as_bytes()
        ));
        assert!(!completes_marker(b"<n>", b">"));
        assert!(!completes_marker(b"<", b"n"));
        assert!(!completes_marker(b"<b", b"n>"));
        assert!(!completes_marker(b"", b"<n>"));
    }

    #[test]
    fn an_unfinished_marker_is_seen() {
        assert_eq!(unfinished("a<"), 1);
        assert_eq!(unfinished("<n><|blank_7"), 9);
        assert_eq!(unfinished("<n>"), 0);
        assert_eq!(unfinished("<b"), 0);
    }
}

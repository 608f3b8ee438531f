//! Text in characters and in words.

use std::sync::LazyLock;

use jieba_rs::Jieba;
use regex::Regex;

/// jieba's own dictionary, parsed once.
static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// The characters of a text.
pub fn characters(text: &str) -> Vec<&str> {
    let starts = text.char_indices();
    let ends = starts.map(|(start, c)| (start, start + c.len_utf8()));
    ends.map(|(start, end)| &text[start..end]).collect()
}

/// The words of a text as `jieba.cut` of Python finds them, with its model for unknown words.
pub fn words(text: &str) -> Vec<&str> {
    let tokens = JIEBA.cut(text, true).into_iter();
    tokens.flat_map(|token| split_numbers(token.word)).collect()
}

/// Unknown words of ASCII signs as Python's jieba splits them: numbers with a point and a percent sign stay whole
/// (`3.5%`), other signs stand for themselves (`5`, `-`, `8`); jieba-rs keeps more together.
fn split_numbers(word: &str) -> Vec<&str> {
    static NUMBER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[a-zA-Z0-9]+(?:\.[0-9]+)?%?").ok());
    let is_joined = word.is_ascii() && word.bytes().any(|byte| byte.is_ascii_punctuation());
    let Some(number) = NUMBER
        .as_ref()
        .filter(|_| is_joined && !JIEBA.has_word(word))
    else {
        return vec![word];
    };
    let (mut parts, mut end) = (Vec::new(), 0);
    for found in number.find_iter(word) {
        parts.extend([&word[end..found.start()], found.as_str()]);
        end = found.end();
    }
    parts.push(&word[end..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_split_as_pythons_jieba_does() {
        assert_eq!(words("高5-8倍"), ["高", "5", "-", "8", "倍"]);
        assert_eq!(words("3.5%的"), ["3.5%", "的"]);
        assert_eq!(words("x 3%5"), ["x", " ", "3%", "5"]);
        assert_eq!(words("2020-01-01"), ["2020", "-", "01", "-", "01"]);
        assert_eq!(words("10%-20%"), ["10%", "-", "20%"]);
        assert_eq!(words("v1.2-3"), ["v1.2", "-", "3"]);
        assert_eq!(words("1_2_3"), ["1", "_", "2", "_", "3"]);
    }
}

//! Regular expressions of tokenizers, in time linear in the text.
//!
//! `tokenizer.json` is written for Oniguruma, which backtracks: `(a+)+$` takes it for ever. The engine here
//! never does. It has no look-around, but the one that tokenizers of GPT's line need, `\s+(?!\S)|\s+`, can be
//! told from the end of a match. What else an expression asks for, and what the two engines read differently,
//! is refused by name.

use regex_automata::meta;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};
use tokenizers::Offsets;
use tokenizers::pattern::Pattern;

use super::limits;

/// All of a run of whitespace but the last character, where a word follows.
const BLANKS: &str = r"\s+(?!\S)";
/// What must be tried after [`BLANKS`]: then both together are the run, less that character.
const BLANKS_REST: [&str; 2] = [r"\s+", r"\s"];

/// Oniguruma's `\w`.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}";

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct LinearPattern {
    engine: meta::Regex,
    /// Which of the engine's patterns stands for [`BLANKS`] and what follows it.
    blanks: Option<usize>,
    shortest: usize,
}

impl LinearPattern {
    /// Compiles an expression in Oniguruma's (Ruby's) syntax.
    ///
    /// # Errors
    /// What is wrong with it, or cannot be matched in linear time.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > limits::PATTERN {
            let length = pattern.len();
            return Err(format!(
                "{length} bytes of expression, and at most {} can be used",
                limits::PATTERN
            ));
        }
        let Branches {
            parts,
            blanks,
            ignores_case,
        } = Branches::read(pattern)?;
        let syntax = syntax::Config::new()
            // Ruby's `^` and `$` are those of lines.
            .multi_line(true)
            .case_insensitive(ignores_case)
            .nest_limit(limits::PATTERN_NESTING);
        let parse = |part: &String| {
            let parsed = syntax::parse_with(part, &syntax).map_err(Box::new);
            parsed.map_err(|error| one_line(&error.to_string()))
        };
        let trees = parts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let lengths = trees.iter().map(|tree| tree.properties().minimum_len());
        let shortest = lengths.map(|length| length.unwrap_or(usize::MAX)).min();
        let shortest = shortest.unwrap_or(0);
        if shortest == 0 {
            return Err("it matches nothing at all, everywhere".to_string());
        }
        let config = meta::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .nfa_size_limit(Some(limits::COMPILED_PATTERN))
            .onepass(false);
        let engine = meta::Builder::new()
            .configure(config)
            .build_many_from_hir(&trees)
            .map_err(|error| match error.size_limit() {
                Some(limit) => format!("compiled it has a size of more than {limit} bytes"),
                None => one_line(&error.to_string()),
            })?;
        Ok(Self {
            engine,
            blanks,
            shortest,
        })
    }

    /// The expression that matches a text itself.
    ///
    /// # Errors
    /// If the text is too long or empty.
    pub(super) fn literal(text: &str) -> Result<Self, String> {
        let escaped: String = text.chars().flat_map(escape).collect();
        Self::new(&escaped)
    }

    /// Bytes of the shortest match.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    /// The first match from `start` on.
    pub(super) fn find_at(&self, text: &str, start: usize) -> Option<Offsets> {
        let found = self.engine.search(&Input::new(text).range(start..))?;
        let mut end = found.end();
        if self.blanks == Some(found.pattern().as_usize()) && end < text.len() {
            let last = text[found.start()..end].chars().next_back()?.len_utf8();
            if end - last > found.start() {
                end -= last;
            }
        }
        Some((found.start(), end))
    }

    /// All matches, from left to right.
    pub(super) fn find_iter<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Offsets> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (start, end) = self.find_at(text, at)?;
            at = end;
            Some((start, end))
        })
    }
}

impl Pattern for &LinearPattern {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        if inside.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut parts = Vec::with_capacity(inside.len() / 6 + 1);
        let mut before = 0;
        for (start, end) in self.find_iter(inside) {
            if start > before {
                parts.push(((before, start), false));
            }
            parts.push(((start, end), true));
            before = end;
        }
        if before < inside.len() {
            parts.push(((before, inside.len()), false));
        }
        Ok(parts)
    }
}

fn escape(character: char) -> impl Iterator<Item = char> {
    // Those that need none when they are escaped would be refused.
    let escaped = character.is_ascii_punctuation() && !matches!(character, '<' | '>');
    escaped.then_some('\\').into_iter().chain([character])
}

/// The compiler draws an arrow below the place; a message is one line.
fn one_line(message: &str) -> String {
    let last = message.lines().rfind(|line| !line.trim().is_empty());
    let last = last.unwrap_or(message).trim();
    last.strip_prefix("error: ").unwrap_or(last).to_string()
}

/// An expression, cut at the alternatives where [`BLANKS`] stands.
#[derive(Debug, Default)]
struct Branches {
    parts: Vec<String>,
    blanks: Option<usize>,
    ignores_case: bool,
}

impl Branches {
    fn read(pattern: &str) -> Result<Self, String> {
        let mut branches = Self::default();
        let pattern = match pattern.strip_prefix("(?i)") {
            Some(rest) => {
                branches.ignores_case = true;
                rest
            }
            None => pattern,
        };
        let mut before: Vec<String> = Vec::new();
        let mut alternatives = split(pattern)?.into_iter();
        while let Some(alternative) = alternatives.next() {
            if alternative != BLANKS {
                before.push(alternative);
                continue;
            }
            let rest = alternatives.next().unwrap_or_default();
            if branches.blanks.is_some() || !BLANKS_REST.contains(&rest.as_str()) {
                return Err(format!("`{BLANKS}` can be used once, and before `|\\s+`"));
            }
            branches.take(&mut before);
            branches.blanks = Some(branches.parts.len());
            branches.parts.push(BLANKS_REST[0].to_string());
        }
        branches.take(&mut before);
        Ok(branches)
    }

    fn take(&mut self, alternatives: &mut Vec<String>) {
        if !alternatives.is_empty() {
            self.parts.push(alternatives.join("|"));
            alternatives.clear();
        }
    }
}

/// The alternatives of an expression that both engines read alike; [`BLANKS`] may be one of them.
fn split(pattern: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader {
        rest: pattern,
        alternatives: Vec::new(),
        current: String::new(),
        groups: 0,
    };
    while !reader.rest.is_empty() {
        reader.step()?;
    }
    if reader.groups > 0 {
        return Err("a group is not closed".to_string());
    }
    reader.alternatives.push(reader.current);
    Ok(reader.alternatives)
}

struct Reader<'a> {
    rest: &'a str,
    alternatives: Vec<String>,
    current: String,
    groups: usize,
}

impl Reader<'_> {
    fn step(&mut self) -> Result<(), String> {
        if self.groups == 0 && self.current.is_empty() && self.is_blanks() {
            self.keep(BLANKS.len());
            return Ok(());
        }
        match self.rest.as_bytes()[0] {
            b'\\' => self.escape()?,
            b'[' => self.class()?,
            b'(' => return self.open(),
            b')' => {
                self.groups = self.groups.checked_sub(1).ok_or("a `)` opens nothing")?;
                self.keep(1);
            }
            b'|' if self.groups == 0 => {
                self.alternatives.push(std::mem::take(&mut self.current));
                self.rest = &self.rest[1..];
                return Ok(());
            }
            b'|' | b'^' | b'$' => {
                self.keep(1);
                return Ok(());
            }
            b'*' | b'+' | b'?' | b'{' => return Err("a repetition of nothing".to_string()),
            _ => self.keep(self.rest.chars().next().map_or(1, char::len_utf8)),
        }
        self.repetition()
    }

    fn is_blanks(&self) -> bool {
        let after = self.rest.strip_prefix(BLANKS);
        after.is_some_and(|after| after.is_empty() || after.starts_with('|'))
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.current.push_str(kept);
        self.rest = rest;
    }

    /// Writes something else in place of an escape of one character.
    fn put(&mut self, text: &str) {
        self.current.push_str(text);
        self.rest = &self.rest[2..];
    }

    /// Escapes that mean the same to both engines.
    fn escape(&mut self) -> Result<(), String> {
        let escaped = self.rest[1..].chars().next();
        match escaped.ok_or("it ends in a backslash")? {
            // To the engine here these are the bounds of a word.
            '<' | '>' => {
                self.rest = &self.rest[1..];
                self.keep(1);
            }
            // The engine here counts the joiners U+200C and U+200D too.
            'w' => self.put(&format!("[{WORD}]")),
            'W' => self.put(&format!("[^{WORD}]")),
            'p' | 'P' => {
                let end = match self.rest[2..].starts_with('{') {
                    true => self.rest.find('}').ok_or("`\\p{` is not closed")?,
                    false => return Err("`\\p` without braces".to_string()),
                };
                self.keep(end + 1);
            }
            'x' | 'u' if self.rest[2..].starts_with('{') => {
                let end = self.rest.find('}').ok_or("a `{` is not closed")?;
                self.keep(end + 1);
            }
            'b' | 'B' if self.rest[2..].starts_with('{') => {
                return Err("a repetition of nothing".to_string());
            }
            'A' | 'B' | 'D' | 'S' | 'a' | 'b' | 'd' | 'f' | 'n' | 'r' | 's' | 't' | 'u' | 'v'
            | 'x' | 'z' => self.keep(2),
            other if other.is_ascii_punctuation() || other == ' ' => self.keep(2),
            other => return Err(format!("`\\{}` is not supported", other.escape_debug())),
        }
        Ok(())
    }

    /// `[…]`, with those inside of it.
    fn class(&mut self) -> Result<(), String> {
        let mut depth = 0;
        loop {
            let rest = self.rest;
            if depth > 0 && rest.starts_with("[:") {
                return Err("`[:…:]` is not supported; write `\\p{…}`".to_string());
            }
            if rest.starts_with("--") || rest.starts_with("~~") {
                return Err(format!("`{}` inside of `[…]`", &rest[..2]));
            }
            match rest.as_bytes().first() {
                None => return Err("a `[` is not closed".to_string()),
                Some(b'\\') => {
                    self.escape()?;
                    continue;
                }
                Some(b'[') => {
                    depth += 1;
                    self.keep(if rest.starts_with("[^") { 2 } else { 1 });
                    // A bracket that comes first is one of the characters.
                    if self.rest.starts_with(']') {
                        self.keep(1);
                    }
                    continue;
                }
                Some(b']') => {
                    depth -= 1;
                    self.keep(1);
                }
                Some(_) => self.keep(rest.chars().next().map_or(1, char::len_utf8)),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn open(&mut self) -> Result<(), String> {
        let rest = self.rest;
        let opening = match rest.strip_prefix("(?") {
            None => 1,
            Some(after) if after.starts_with(':') => 3,
            Some(after) if after.starts_with("i:") => 4,
            Some(after) if after.starts_with("-i:") => 5,
            Some(after) => {
                let what: String = after.chars().take(3).collect();
                return Err(format!(
                    "`(?{}` is not supported (of look-around, only `{BLANKS}|\\s+`)",
                    what.escape_debug()
                ));
            }
        };
        self.groups += 1;
        self.keep(opening);
        Ok(())
    }

    /// What repeats the atom before it. A second `+` makes it possessive to one engine and repeats it again
    /// to the other.
    fn repetition(&mut self) -> Result<(), String> {
        let length = match self.rest.as_bytes().first() {
            Some(b'*' | b'+' | b'?') => 1,
            Some(b'{') => self.counted()?,
            _ => return Ok(()),
        };
        self.keep(length);
        let is_exact = length > 1 && !self.current_count_is_range(length);
        if self.rest.starts_with('?') && !is_exact {
            self.keep(1);
        }
        match self.rest.as_bytes().first() {
            Some(b'*' | b'+' | b'?' | b'{') => {
                Err("possessive and repeated repetitions are not supported".to_string())
            }
            _ => Ok(()),
        }
    }

    /// The length of `{n}`, `{n,}` or `{n,m}`.
    fn counted(&self) -> Result<usize, String> {
        let end = self.rest.find('}').ok_or("a `{` is not closed")?;
        let inside = &self.rest[1..end];
        let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        match !least.is_empty() && is_number(least) && is_number(most) {
            true => Ok(end + 1),
            false => Err("`{` that counts nothing; write `\\{`".to_string()),
        }
    }

    fn current_count_is_range(&self, length: usize) -> bool {
        self.current[self.current.len() - length..].contains(',')
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) const KNOWN: [&str; 9] = [
        // GPT-2, GPT-4 and GLM-4, Qwen, o200k
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        // DeepSeek, Bloom, CLIP
        r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
        r" ?[^(\s|[.,!?…。，、।۔،])]+",
        r"\s+$",
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"[0-9][0-9][0-9]",
    ];

    /// Oniguruma is asked with the same options as the `tokenizers` crate asks it.
    fn assert_as_oniguruma(pattern: &str, text: &str) {
        let linear = LinearPattern::new(pattern).unwrap();
        let backtracking = onig::Regex::new(pattern).unwrap();
        let found: Vec<_> = linear.find_iter(text).collect();
        let expected: Vec<_> = backtracking.find_iter(text).collect();
        assert_eq!(found, expected, "{pattern} on {text:?}");
    }

    #[test]
    fn refused_by_name() {
        for (pattern, what) in [
            (r"(?=a)b", "(?=a)"),
            (r"(?<!a)b", "(?<!a"),
            (r"(a)\1", "\\1"),
            (r"a++", "possessive"),
            (r"\p{N}{1,3}+", "possessive"),
            (r"a*", "matches nothing"),
            (r"", "matches nothing"),
            (r"a|", "matches nothing"),
            (r"[[:alpha:]]+", "[:…:]"),
            (r"\s+(?!\S)", "before"),
            (r"\s+(?!\S)|a|\s+", "before"),
            (r"[a", "not closed"),
            (r"(a", "not closed"),
            (r"a)", "opens nothing"),
            (r"\", "backslash"),
            (r"a{99999}", "size"),
            (r"(\p{L}{900}){900}", "size"),
            (r"\p{Nonsense}", "property"),
            (r"\h", "\\h"),
        ] {
            let message = LinearPattern::new(pattern).unwrap_err();
            assert!(message.contains(what), "{pattern}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
        let deep = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
        assert!(LinearPattern::new(&deep).is_err());
        assert!(LinearPattern::new(&"a".repeat(5000)).is_err());
    }

    #[test]
    fn a_pattern_that_backtracks_is_matched_in_linear_time() {
        let pattern = LinearPattern::new("(a+)+$").unwrap();
        let text = "a".repeat(100_000) + "b";
        let started = std::time::Instant::now();
        assert_eq!(pattern.find_iter(&text).count(), 0);
        assert!(started.elapsed().as_secs() < 20);
    }

    #[test]
    fn literals_are_taken_to_the_letter() {
        for text in [
            "a.b", "<n>", r"\s", "[x]{2}", "▁", "a b#&-~", "\n\t", "{,3}",
        ] {
            let pattern = LinearPattern::literal(text).unwrap();
            assert_eq!(pattern.find_at(text, 0), Some((0, text.len())), "{text}");
            assert_eq!(pattern.shortest(), text.len());
        }
        assert!(LinearPattern::literal("").is_err());
    }

    #[test]
    fn whitespace_leaves_one_for_the_word_after_it() {
        let pattern = LinearPattern::new(KNOWN[1]).unwrap();
        let words = |text: &'static str| -> Vec<&str> {
            pattern
                .find_iter(text)
                .map(|(start, end)| &text[start..end])
                .collect()
        };
        assert_eq!(words("a   b"), ["a", "  ", " b"]);
        assert_eq!(words("a   "), ["a", "   "]);
        assert_eq!(words("a \t\u{3000}1"), ["a", " \t", "\u{3000}", "1"]);
        assert_eq!(words(" \n \r\n  x"), [" \n \r\n", " ", " x"]);
        assert_eq!(
            words("12345, it'S!\n\n"),
            ["123", "45", ",", " it", "'S", "!\n\n"]
        );
    }

    proptest! {
        /// Every expression that is accepted splits as Oniguruma does.
        #[test]
        fn known_patterns_split_as_oniguruma_does(
            which in 0..KNOWN.len(),
            text in "([a-cA-C' .,!\\-\n\r\t\u{3000}\u{a0}0-9你好。éſßİ\u{301}🙂]|'(s|ll|RE)| {1,4}){0,40}",
        ) {
            assert_as_oniguruma(KNOWN[which], &text);
        }

        #[test]
        fn accepted_patterns_split_as_oniguruma_does(
            pattern in r"(((a|b|\.|\\s|\\S|\\w|\\d|[ab]|[^a]|[^\\sb]|\\p\{L\}|\(a\|b\)|\(\?:ab\)|\(\?i:ab\)|\\n)(|\?|\*|\+|\{2\}|\{1,2\}|\+\?)){1,4}\|?){1,3}",
            text in "[ab AB1\n\r你.\u{200d}]{0,16}",
        ) {
            if LinearPattern::new(&pattern).is_ok() {
                assert_as_oniguruma(&pattern, &text);
            }
        }

        #[test]
        fn no_pattern_panics(pattern in r"([ab\\\[\](){}|?*+^$.:!=<>,0-9pPsSwdx&~-]|\(\?|\\p\{L\}|é){0,24}", text in ".{0,20}") {
            if let Ok(pattern) = LinearPattern::new(&pattern) {
                pattern.find_iter(&text).for_each(drop);
            }
        }
    }
}

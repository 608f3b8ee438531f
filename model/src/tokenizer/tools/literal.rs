//! Python's literals, of which ChatGLM3 writes the arguments of a call: `tool_call(city='北京', days=3)`. They are read by
//! a parser of their own; nothing is ever evaluated.

use serde_json::{Map, Number, Value};

/// Lists and dictionaries within each other.
const NESTING: usize = 32;

/// Reads `name(key=literal, …)`, all of the text: the name and the arguments by their keys. `None` if it is anything
/// else.
pub(super) fn read_call(text: &str) -> Option<(&str, Map<String, Value>)> {
    let mut reader = Reader::new(text.trim());
    let name = reader.identifier()?;
    reader.expect('(')?;
    let mut arguments = Map::new();
    reader.items(')', |reader| {
        let key = reader.identifier()?;
        reader.expect('=')?;
        let value = reader.value(0)?;
        arguments
            .insert(key.to_string(), value)
            .is_none()
            .then_some(())
    })?;
    reader.rest.is_empty().then_some((name, arguments))
}

/// Writes `name(key=literal, …)`. `None` if a key is no identifier.
pub(super) fn write_call(name: &str, arguments: &Map<String, Value>) -> Option<String> {
    let written: Option<Vec<String>> = arguments
        .iter()
        .map(|(key, value)| is_identifier(key).then(|| format!("{key}={}", write(value))))
        .collect();
    Some(format!("{name}({})", written?.join(", ")))
}

/// Whether a text can be the key of an argument.
pub(crate) fn is_identifier(text: &str) -> bool {
    !text.is_empty() && identifier_length(text) == text.len()
}

/// A value as Python writes it.
pub(crate) fn write(value: &Value) -> String {
    match value {
        Value::Null => "None".to_string(),
        Value::Bool(true) => "True".to_string(),
        Value::Bool(false) => "False".to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => write_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(write).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", write_text(key), write(value));
            let pairs: Vec<String> = map.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A text in the quotes that Python chooses: single ones, unless only those would have to be escaped.
fn write_text(text: &str) -> String {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == quote => out.extend(['\\', quote]),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push(quote);
    out
}

fn identifier_length(text: &str) -> usize {
    let is_part = |(at, c): &(usize, char)| {
        *c == '_' || c.is_ascii_alphabetic() || (*at > 0 && c.is_ascii_digit())
    };
    let part = text.char_indices().take_while(is_part);
    part.map(|(at, c)| at + c.len_utf8()).last().unwrap_or(0)
}

/// What has not been read yet. Whatever is not as expected is `None`.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let taken = self.rest.get(..length)?;
        self.rest = &self.rest[length..];
        Some(taken)
    }

    fn accept(&mut self, character: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, character: char) -> Option<()> {
        self.accept(character).then_some(())
    }

    fn identifier(&mut self) -> Option<&'a str> {
        self.skip_space();
        let name = self.take(identifier_length(self.rest))?;
        (!name.is_empty()).then_some(name)
    }

    /// What stands between commas up to `close`; a comma may follow the last item.
    fn items(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        while !self.accept(close) {
            item(self)?;
            if !self.accept(',') {
                return self.expect(close);
            }
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth == NESTING {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '\'' | '"' => self.text().map(Value::String),
            '[' => self.list('[', ']', depth),
            '(' => self.list('(', ')', depth),
            '{' => self.dictionary(depth),
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ => match self.identifier()? {
                // Models that learned much JSON mix the two.
                "True" | "true" => Some(Value::Bool(true)),
                "False" | "false" => Some(Value::Bool(false)),
                "None" | "null" => Some(Value::Null),
                _ => None,
            },
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Value> {
        self.expect(open)?;
        let mut values = Vec::new();
        self.items(close, |reader| {
            values.push(reader.value(depth + 1)?);
            Some(())
        })?;
        Some(Value::Array(values))
    }

    fn dictionary(&mut self, depth: usize) -> Option<Value> {
        self.expect('{')?;
        let mut map = Map::new();
        self.items('}', |reader| {
            reader.skip_space();
            let key = reader.text()?;
            reader.expect(':')?;
            let value = reader.value(depth + 1)?;
            map.insert(key, value);
            Some(())
        })?;
        Some(Value::Object(map))
    }

    fn number(&mut self) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let text = self.take(end)?;
        let text = text.strip_prefix('+').unwrap_or(text);
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
            return None;
        }
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            // Python has no decimal numbers that begin with 0.
            let is_decimal = digits.len() == 1 || !digits.starts_with('0');
            let small = text.parse::<i64>().map(Number::from);
            let number = small.or_else(|_| text.parse::<u64>().map(Number::from));
            if let (true, Ok(number)) = (is_decimal, number) {
                return Some(Value::Number(number));
            }
        }
        // Names such as `inf` were refused above.
        let value: f64 = text.parse().ok()?;
        Number::from_f64(value).map(Value::Number)
    }

    fn text(&mut self) -> Option<String> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'))?;
        self.take(1)?;
        let mut out = String::new();
        loop {
            let character = self.rest.chars().next()?;
            self.take(character.len_utf8())?;
            match character {
                '\\' => out.extend(self.escape()?),
                '\n' => return None,
                _ if character == quote => return Some(out),
                _ => out.push(character),
            }
        }
    }

    /// What follows a backslash: a character, itself where Python knows no such escape, or nothing.
    fn escape(&mut self) -> Option<Vec<char>> {
        let character = self.rest.chars().next()?;
        self.take(character.len_utf8())?;
        let escaped = match character {
            '\n' => return Some(Vec::new()),
            '\\' | '\'' | '"' => character,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '0' => '\0',
            'x' => char::from_u32(self.hexadecimal(2)?)?,
            'u' => return self.unit().map(|character| vec![character]),
            'U' => char::from_u32(self.hexadecimal(8)?)?,
            other => return Some(vec!['\\', other]),
        };
        Some(vec![escaped])
    }

    /// The rest of `\uXXXX`, or of two that make a pair, as JSON writes characters beyond the first 65536.
    fn unit(&mut self) -> Option<char> {
        let first = self.hexadecimal(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.rest = self.rest.strip_prefix("\\u")?;
        let second = self.hexadecimal(4)?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let text = self.take(digits)?;
        let is_number = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_number.then(|| u32::from_str_radix(text, 16).ok())?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn arguments(text: &str) -> Option<Value> {
        read_call(text).map(|(_, arguments)| Value::Object(arguments))
    }

    #[test]
    fn literals_are_read() {
        let text = r#"tool_call(a='b', n=3, f=-1.5e3, flag=True, off=False, nothing=None, l=[1, 2,], t=(1, "x"),
            d={'k': [], "m": {}}, 北='x')"#;
        assert_eq!(arguments(text), None);
        let text = text.replace(", 北='x'", "");
        let expected = json!({"a": "b", "n": 3, "f": -1500.0, "flag": true, "off": false, "nothing": null,
            "l": [1, 2], "t": [1, "x"], "d": {"k": [], "m": {}}});
        assert_eq!(arguments(&text), Some(expected));
        assert_eq!(arguments("tool_call()"), Some(json!({})));
        assert_eq!(
            arguments(r#"tool_call(a='it\'s \u4f60\ud83d\ude00\x41\n\d', b="\"'")"#),
            Some(json!({"a": "it's 你😀A\n\\d", "b": "\"'"}))
        );
        assert_eq!(
            arguments("tool_call(n=18446744073709551615, m=99999999999999999999)"),
            Some(json!({"n": u64::MAX, "m": 1e20}))
        );
    }

    #[test]
    fn nothing_else_is_read() {
        for text in [
            "",
            "tool_call",
            "tool_call(",
            "tool_call(a)",
            "tool_call('a')",
            "tool_call(a=b)",
            "tool_call(a=1)(b=2)",
            "tool_call(a=1) + 1",
            "tool_call(a=1, a=2)",
            "tool_call(a=__import__('os'))",
            "tool_call(a='b)",
            "tool_call(a='b\n')",
            "tool_call(a=1e999)",
            "tool_call(a=-inf)",
            "tool_call(a=nan)",
            "tool_call(a=0x10)",
            "tool_call(a='\\ud800')",
            "tool_call(a=1,,)",
            "tool_call(a=*b)",
            "tool_call(1a=1)",
        ] {
            assert_eq!(read_call(text), None, "{text}");
        }
        let deep = format!(
            "tool_call(a={}{})",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(read_call(&deep), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs in proptest::collection::vec(("[a-z_][a-z0-9_]{0,5}", value()), 0..4)) {
            let arguments: Map<String, Value> = pairs.into_iter().collect();
            let text = write_call("tool_call", &arguments).unwrap();
            prop_assert_eq!(read_call(&text), Some(("tool_call", arguments)));
        }

        #[test]
        fn no_text_is_too_much(text in "(tool_call)?[(]?([a-z=,'\"\\\\{}():\\[\\]0-9.\\-ux你 \n]|\\PC)*") {
            let _ = read_call(&text);
        }
    }
}

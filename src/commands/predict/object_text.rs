//! A JSON object as text: its members are taken apart without being understood, so that numbers and strings stay as
//! they are written.

/// A text of JSON without the white space between its parts.
pub fn compact(text: &str) -> String {
    let mut string = InString::default();
    text.chars()
        .filter(|&character| string.step(character) || !character.is_ascii_whitespace())
        .collect()
}

/// The members of an object, which is valid and compact.
#[derive(Debug)]
pub struct Members<'a> {
    rest: &'a str,
}

/// A member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Key and value.
    pub text: &'a str,
}

impl<'a> Members<'a> {
    /// The members of an object.
    pub fn of(object: &'a str) -> Self {
        let inner = object
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        Self {
            rest: inner.unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut string, mut depth) = (InString::default(), 0);
        let end = self.rest.find(|character: char| {
            if string.step(character) {
                return false;
            }
            match character {
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
            character == ',' && depth == 0
        });
        let (text, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, ""),
        };
        self.rest = rest;
        Some(Member { text })
    }
}

impl Member<'_> {
    /// Its key.
    pub fn key(&self) -> String {
        let mut strings = serde_json::Deserializer::from_str(self.text).into_iter::<String>();
        strings.next().and_then(Result::ok).unwrap_or_default()
    }
}

/// Whether a walk over a text is inside of a string.
#[derive(Debug, Default)]
struct InString {
    is_inside: bool,
    is_escaped: bool,
}

impl InString {
    /// Whether the next character belongs to a string, its quotes included.
    fn step(&mut self, character: char) -> bool {
        let was_inside = self.is_inside;
        match character {
            '"' if !self.is_escaped => self.is_inside = !self.is_inside,
            _ => {}
        }
        self.is_escaped = was_inside && character == '\\' && !self.is_escaped;
        was_inside || self.is_inside
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[\\PC\\n\"\\\\]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\,{ ]{0,3}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_those_that_a_parser_finds(
            members in prop::collection::btree_map("[a-z\"\\\\,{ ]{0,4}", values(), 0..5),
        ) {
            let object: Map<String, Value> = members.into_iter().collect();
            let object = Value::Object(object);
            let text = compact(&serde_json::to_string_pretty(&object).unwrap());
            prop_assert_eq!(&text, &object.to_string());
            let found = Members::of(&text).map(|member| {
                let object = format!("{{{}}}", member.text);
                let value: Value = serde_json::from_str(&object).unwrap();
                (member.key(), value[member.key()].clone())
            });
            let found: Map<String, Value> = found.collect();
            prop_assert_eq!(&Value::Object(found), &object);
        }
    }
}

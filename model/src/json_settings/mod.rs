//! JSON objects of settings that somebody else wrote, read key by key.
//!
//! Whoever reads a file asks its [`Section`]s for values of certain [`Form`]s. Everything that is wrong in the
//! file is told at once, with the dotted key; keys that nobody asked for are refused or noted, with the name
//! that may have been meant. Null counts as absent, as it does in Python.

mod findings;
mod form;
mod section;

pub use form::{COUNT, FLAG, Form, NUMBER, OBJECT, POSITIVE, SIZE, STRING};
pub use section::Section;

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use findings::Findings;

/// What `read` makes of the keys of an object, and a line for each key that is accepted and does not do what
/// it says; `path` is for messages.
///
/// # Errors
/// [`Error::Config`] with every key that `read` found missing, wrong or unknown.
pub fn read<T>(
    object: &Map<String, Value>,
    path: &Path,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<(T, Vec<String>)> {
    let mut findings = Findings::default();
    let found = read(&mut Section::top(object, &mut findings));
    match findings.faults.is_empty() {
        true => Ok((found, findings.notes)),
        false => Err(Error::Config {
            path: path.to_path_buf(),
            faults: findings.faults,
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn reading<T>(
        value: &Value,
        keys: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Result<(T, Vec<String>)> {
        let Value::Object(object) = value else {
            panic!("an object is needed");
        };
        read(object, Path::new("f.json"), keys)
    }

    fn message<T: std::fmt::Debug>(
        value: Value,
        keys: impl FnOnce(&mut Section<'_>) -> T,
    ) -> String {
        let error = reading(&value, keys).unwrap_err();
        assert!(error.is_request());
        error.to_string()
    }

    #[test]
    fn values_of_their_forms_are_read() {
        let value = json!({"on": true, "name": "x", "count": 1e2, "size": 0, "least": 0.5, "inner": {"rate": 0}});
        let (found, notes) = reading(&value, |top| {
            let inner = top.section("inner", |inner| inner.read("rate", &NUMBER));
            (
                top.read_or("on", &FLAG, false),
                top.read("name", &STRING),
                top.read("count", &COUNT),
                top.require("size", &SIZE),
                top.read("least", &POSITIVE),
                inner,
            )
        })
        .unwrap();
        let expected = (
            true,
            Some("x".to_string()),
            Some(100),
            Some(0),
            Some(0.5),
            Some(Some(0.0)),
        );
        assert_eq!(found, expected);
        assert!(notes.is_empty());
    }

    #[test]
    fn null_is_absent_and_auto_where_it_may_be() {
        let value = json!({"a": null, "b": "auto", "c": 0.0});
        let (found, _) = reading(&value, |top| {
            assert!(!top.has("a") && top.has("b"));
            top.only("c", 0);
            (top.read("a", &FLAG), top.read_or_auto("b", &NUMBER))
        })
        .unwrap();
        assert_eq!(found, (None, None));
        let found = message(json!({"b": "often"}), |top| top.read_or_auto("b", &NUMBER));
        assert!(found.contains("a number from 0 or \"auto\""), "{found}");
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_file_and_key() {
        let value = json!({"on": 1, "inner": {"rate": "x", "rated": 1}, "fixed": true, "other": [], "unheard": 1});
        let found = message(value, |top| {
            top.read("on", &FLAG);
            top.section("inner", |inner| inner.read("rate", &NUMBER));
            top.only("fixed", false);
            top.section("other", |_| ());
            top.require("there", &STRING);
            top.refuse_unknown();
        });
        let expected = [
            "f.json:",
            "  key `on`: found 1, expected true or false",
            "  key `inner.rate`: found \"x\", expected a number from 0",
            "  key `inner.rated` is unknown; did you mean `rate`?",
            "  key `fixed`: found true, expected false, as nothing else is supported",
            "  key `other`: found [], expected an object",
            "  key `there`: found nothing, expected a string",
            "  key `unheard` is unknown; remove it",
        ];
        assert_eq!(found, expected.join("\n"));
    }

    #[test]
    fn what_has_no_effect_is_noted() {
        let value = json!({"a": true, "b": "auto", "learn_rate": 1});
        let (_, notes) = reading(&value, |top| {
            top.inert(&["a", "b", "c"], &FLAG, "has no effect here");
            top.accept(&["learning_rate"]);
            top.note_unknown();
        })
        .unwrap();
        let expected = [
            "`a`: has no effect here",
            "`b`: has no effect here",
            "`learn_rate`: unknown, and has no effect; did you mean `learning_rate`?",
        ];
        assert_eq!(notes, expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[a-c]", inner), 0..3)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A key is read, absent, or named in the error.
        #[test]
        fn a_value_is_used_or_refused_by_name(value in any_value()) {
            let absent = value.is_null();
            let file = json!({ "key": value });
            let found = reading(&file, |top| top.read("key", &SIZE));
            match found {
                Ok((found, _)) => prop_assert_eq!(found.is_none(), absent),
                Err(error) => prop_assert!(error.to_string().contains("f.json:\n  key `key`: found ")),
            }
        }
    }
}

//! The forms that values can have.

use serde_json::Value;

/// A form of a value: what it is called, and how a value of it is read.
#[derive(Debug, Clone, Copy)]
pub struct Form<T> {
    /// What would be right, for messages: "a number from 0".
    pub expected: &'static str,
    /// The value, if it has this form.
    pub read: fn(&Value) -> Option<T>,
}

/// A switch.
pub const FLAG: Form<bool> = Form {
    expected: "true or false",
    read: Value::as_bool,
};

/// Any string.
pub const STRING: Form<String> = Form {
    expected: "a string",
    read: |value| value.as_str().map(str::to_string),
};

/// How many there are of something that there must be.
pub const COUNT: Form<u64> = Form {
    expected: "a whole number from 1",
    read: |value| whole(value).filter(|&count| count >= 1),
};

/// How many there are, or how large something is.
pub const SIZE: Form<u64> = Form {
    expected: "a whole number from 0",
    read: whole,
};

/// A number that is not negative.
pub const NUMBER: Form<f64> = Form {
    expected: "a number from 0",
    read: |value| value.as_f64().filter(|&number| number >= 0.0),
};

/// A number that is neither negative nor zero.
pub const POSITIVE: Form<f64> = Form {
    expected: "a number above 0",
    read: |value| value.as_f64().filter(|&number| number > 0.0),
};

/// An object whose keys do not matter.
pub const OBJECT: Form<()> = Form {
    expected: "an object",
    read: |value| value.is_object().then_some(()),
};

/// Whole numbers are written as `5e8` too.
fn whole(value: &Value) -> Option<u64> {
    let fits = |number: &f64| number.fract() == 0.0 && (0.0..=u64::MAX as f64).contains(number);
    let float = || value.as_f64().filter(fits).map(|number| number as u64);
    value.as_u64().or_else(float)
}

//! PEFT's rules for naming modules: lists of suffixes, and regular expressions.

use regex::{Regex, RegexBuilder};

/// Limit of one compiled expression, against expressions made to be huge.
const COMPILED: usize = 1 << 20;

/// Values by module, as in PEFT's `rank_pattern` and `alpha_pattern`: the first entry whose expression
/// matches a whole path, or all of it after a dot, decides.
#[derive(Debug, Clone)]
pub struct Patterns<T> {
    entries: Vec<(String, Regex, T)>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<T: PartialEq> PartialEq for Patterns<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl<T> Patterns<T> {
    /// Compiles expressions, in the order in which they are tried.
    ///
    /// # Errors
    ///
    /// An expression that cannot be compiled, with the reason. (Python's look-around and back-references
    /// are not supported.)
    pub fn new(
        entries: impl IntoIterator<Item = (String, T)>,
    ) -> std::result::Result<Self, String> {
        let entries = entries
            .into_iter()
            .map(|(pattern, value)| {
                let regex = compile(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                    .map_err(|reason| format!("`{pattern}`: {reason}"))?;
                Ok((pattern, regex, value))
            })
            .collect::<std::result::Result<_, String>>()?;
        Ok(Self { entries })
    }

    /// The value for the module of a path such as `transformer.encoder.layers.0.mlp.dense_4h_to_h`.
    pub fn get(&self, module: &str) -> Option<&T> {
        let matching =
            |(pattern, regex, _): &&(String, Regex, T)| pattern == module || regex.is_match(module);
        self.entries
            .iter()
            .find(matching)
            .map(|(_, _, value)| value)
    }

    /// Expressions and values, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .map(|(pattern, _, value)| (pattern.as_str(), value))
    }
}

/// Which modules an adapter is for, as in PEFT's `target_modules`.
#[derive(Debug, Clone)]
pub enum TargetModules {
    /// Names, each of which stands for every module whose path is it or ends in it after a dot.
    Names(Vec<String>),
    /// A regular expression for whole paths, and the same compiled.
    Expression(String, Regex),
    /// Every linear layer but the output head: `"all-linear"`.
    AllLinear,
}

impl TargetModules {
    /// Names of modules.
    pub fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }

    /// `all-linear`, or an expression.
    ///
    /// # Errors
    ///
    /// Why the expression cannot be compiled.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.eq_ignore_ascii_case("all-linear") {
            return Ok(Self::AllLinear);
        }
        let regex = compile(&format!("^(?:{text})$"))?;
        Ok(Self::Expression(text.to_owned(), regex))
    }

    /// Whether the module of a path is meant. For [`Self::AllLinear`] always: what is linear, the model knows.
    pub fn matches(&self, module: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| {
                let before = module.strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }),
            Self::Expression(_, regex) => regex.is_match(module),
            Self::AllLinear => true,
        }
    }
}

impl PartialEq for TargetModules {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Names(a), Self::Names(b)) => a == b,
            (Self::Expression(a, _), Self::Expression(b, _)) => a == b,
            (Self::AllLinear, Self::AllLinear) => true,
            _ => false,
        }
    }
}

fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(COMPILED)
        .build()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MODULE: &str = "transformer.encoder.layers.10.self_attention.dense";

    #[test]
    fn the_first_matching_pattern_decides() {
        let patterns = |entries: &[(&str, u32)]| {
            let owned = entries
                .iter()
                .map(|(pattern, value)| ((*pattern).to_owned(), *value));
            Patterns::new(owned).unwrap().get(MODULE).copied()
        };
        assert_eq!(patterns(&[("query_key_value", 1)]), None);
        assert_eq!(
            patterns(&[("ense", 1), ("dense", 2), ("self_attention.dense", 3)]),
            Some(2)
        );
        assert_eq!(patterns(&[("self_attention", 1)]), None);
        assert_eq!(patterns(&[(r"layers\.(9|10)\..*", 1)]), Some(1));
        assert_eq!(patterns(&[("^dense", 1)]), None);
        assert_eq!(patterns(&[("^transformer.*dense", 1)]), Some(1));
        assert_eq!(patterns(&[("query|dense", 1)]), Some(1));
        assert_eq!(patterns(&[(MODULE, 1)]), Some(1));
    }

    #[test]
    fn targets() {
        assert!(TargetModules::names(["dense"]).matches(MODULE));
        assert!(TargetModules::names(["self_attention.dense"]).matches(MODULE));
        assert!(!TargetModules::names(["ense", "attention"]).matches(MODULE));
        assert!(
            TargetModules::parse(r".*layers\.1.*dense")
                .unwrap()
                .matches(MODULE)
        );
        assert!(!TargetModules::parse("dense").unwrap().matches(MODULE));
        assert_eq!(
            TargetModules::parse("all-linear").unwrap(),
            TargetModules::AllLinear
        );
    }

    #[test]
    fn bad_expressions_are_refused() {
        for pattern in ["(", "(?=x)", "(((a{1000}){1000}){1000})"] {
            assert!(TargetModules::parse(pattern).is_err(), "{pattern}");
            assert!(
                Patterns::new([(pattern.to_owned(), 1)]).is_err(),
                "{pattern}"
            );
        }
    }
}

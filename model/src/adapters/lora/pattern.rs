//! PEFT's rules for naming modules: lists of suffixes, and regular expressions.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Limit of the compiled form of an expression, or of a set of them, against those made to be huge.
const COMPILED: usize = 1 << 20;
/// The most entries of a set; PEFT writes one for each module at most, and GLM-4 has 280.
const ENTRIES: usize = 4096;
/// The most bytes of the expressions of a set.
const SOURCE: usize = 1 << 20;

/// Values by module, as in PEFT's `rank_pattern` and `alpha_pattern`: the first entry whose expression
/// matches a whole path, or all of it after a dot, decides.
#[derive(Debug, Clone)]
pub struct Patterns<T> {
    entries: Vec<(String, T)>,
    /// The entries that are more than names with dots, by their place among the entries, and all of them
    /// compiled together, so that one limit holds for their sum.
    expressions: Vec<usize>,
    compiled: RegexSet,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            expressions: Vec::new(),
            compiled: RegexSet::empty(),
        }
    }
}

impl<T: PartialEq> PartialEq for Patterns<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T> Patterns<T> {
    /// Compiles expressions, in the order in which they are tried.
    ///
    /// # Errors
    ///
    /// An expression that cannot be compiled, with the reason (Python's look-around and back-references
    /// are not supported), or what is too large.
    pub fn new(
        entries: impl IntoIterator<Item = (String, T)>,
    ) -> std::result::Result<Self, String> {
        let entries: Vec<(String, T)> = entries.into_iter().collect();
        let bytes: usize = entries.iter().map(|(pattern, _)| pattern.len()).sum();
        if entries.len() > ENTRIES || bytes > SOURCE {
            return Err(format!(
                "at most {ENTRIES} of {SOURCE} bytes together, found {} of {bytes}",
                entries.len()
            ));
        }
        let is_expression = |index: &usize| !is_dotted_name(&entries[*index].0);
        let expressions: Vec<usize> = (0..entries.len()).filter(is_expression).collect();
        let sources = expressions
            .iter()
            .map(|&index| suffix_of(&entries[index].0));
        let compiled = RegexSetBuilder::new(sources)
            .size_limit(COMPILED)
            .build()
            .map_err(|error| blame(&error, expressions.iter().map(|&index| &entries[index].0)))?;
        Ok(Self {
            entries,
            expressions,
            compiled,
        })
    }

    /// The value for the module of a path such as `transformer.encoder.layers.0.mlp.dense_4h_to_h`.
    pub fn get(&self, module: &str) -> Option<&T> {
        let by_name = self
            .entries
            .iter()
            .position(|(pattern, _)| pattern == module || matches_name(pattern, module));
        let matched = self.compiled.matches(module).into_iter().next();
        let by_expression = matched.map(|index| self.expressions[index]);
        let first = match (by_name, by_expression) {
            (Some(name), Some(expression)) => name.min(expression),
            (found, None) | (None, found) => found?,
        };
        Some(&self.entries[first].1)
    }

    /// Expressions and values, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .map(|(pattern, value)| (pattern.as_str(), value))
    }
}

/// An expression for whole paths, or for all of one after a dot.
fn suffix_of(pattern: &str) -> String {
    format!(r"^(?:.*\.)?(?:{pattern})$")
}

/// Whether an expression is a name with dots, each of which stands for any character: as most are, and
/// these need no compiling.
fn is_dotted_name(pattern: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    !pattern.is_empty() && pattern.bytes().all(is_plain)
}

/// Whether a name with dots matches a path, or all of it after a dot.
fn matches_name(pattern: &str, module: &str) -> bool {
    if !is_dotted_name(pattern) || !module.is_ascii() {
        return false;
    }
    let Some(start) = module.len().checked_sub(pattern.len()) else {
        return false;
    };
    let (before, tail) = module.as_bytes().split_at(start);
    let fits = |(expected, found): (u8, &u8)| match expected {
        b'.' => *found != b'\n',
        expected => expected == *found,
    };
    let is_whole = before.is_empty() || before.ends_with(b".") && !before.contains(&b'\n');
    is_whole && pattern.bytes().zip(tail).all(fits)
}

/// Which expression of a set is at fault, and why.
fn blame<'a>(error: &regex::Error, patterns: impl Iterator<Item = &'a String>) -> String {
    if let regex::Error::CompiledTooBig(limit) = error {
        return format!("together they are larger than {limit} bytes when compiled");
    }
    let broken = patterns.filter_map(|pattern| {
        let reason = compile(&suffix_of(pattern)).err()?;
        Some(format!("`{pattern}`: {reason}"))
    });
    broken.take(1).next().unwrap_or_else(|| error.to_string())
}

/// The output layer that `all-linear` leaves out: that of ChatGLM-6B, whose published code has
/// `get_output_embeddings`. The later families' code has not, and PEFT adapts their `output_layer` as well.
const OUTPUT_EMBEDDING: &str = "lm_head";

/// Which modules an adapter is for, as in PEFT's `target_modules`.
#[derive(Debug, Clone)]
pub enum TargetModules {
    /// Names, each of which stands for every module whose path is it or ends in it after a dot.
    Names(Vec<String>),
    /// A regular expression for whole paths, and the same compiled.
    Expression(String, Regex),
    /// Every linear layer but the one that the published code names as its output embedding: `"all-linear"`.
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

    /// Whether the linear layer of a path is meant.
    pub fn matches(&self, module: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| {
                let before = module.strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }),
            Self::Expression(_, regex) => regex.is_match(module),
            Self::AllLinear => module != OUTPUT_EMBEDDING,
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
        assert!(TargetModules::AllLinear.matches("transformer.output_layer"));
        assert!(!TargetModules::AllLinear.matches("lm_head"));
        assert!(TargetModules::names(["lm_head"]).matches("lm_head"));
        assert_eq!(
            TargetModules::parse("all-linear").unwrap(),
            TargetModules::AllLinear
        );
    }

    /// What thousands of expressions cost is bounded by their sum, in time as in memory.
    #[test]
    fn many_expressions_are_refused_at_once() {
        let started = std::time::Instant::now();
        for pattern in ["(a|b)*c{50}[x-z]+", "x{900}y*", r"\w{20}"] {
            let entries = (0..4000).map(|index| (format!("{pattern}{index}"), 1));
            assert!(Patterns::new(entries).is_err(), "{pattern}");
        }
        assert!(Patterns::new((0..5000).map(|index| (format!("a{index}"), 1))).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    /// As PEFT writes them when every module has a rank of its own.
    #[test]
    fn one_entry_for_each_module_is_fine() {
        let module =
            |layer: usize, part: &str| format!("transformer.encoder.layers.{layer}.{part}");
        let parts = [
            "self_attention.query_key_value",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        ];
        let entries: Vec<_> = (0..300)
            .flat_map(|layer| parts.map(|part| (module(layer, part), layer)))
            .collect();
        let patterns = Patterns::new(entries.clone()).unwrap();
        assert!(
            entries
                .iter()
                .all(|(name, layer)| patterns.get(name) == Some(layer))
        );
    }

    proptest::proptest! {
        /// Names take a path of their own, which must decide as the expression would.
        #[test]
        fn names_match_as_expressions(pattern in "[ab.]{1,5}", module in "[ab.é\n]{0,8}") {
            let regex = compile(&suffix_of(&pattern)).unwrap();
            let expected = pattern == module || regex.is_match(&module);
            let found = Patterns::new([(pattern, 1)]).unwrap().get(&module).is_some();
            if module.is_ascii() {
                proptest::prop_assert_eq!(found, expected);
            }
        }
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

//! ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), F-measures as the package rouge_chinese computes them.
//!
//! The package joins the units by spaces, splits the text into sentences at Chinese end marks, and the sentences
//! at white space again. Its ways with white space show in the scores, so they are followed to the letter.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

/// Added to the denominator of an F-measure.
const EPSILON: f64 = 1e-8;

/// The F-measures of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rouge {
    /// ROUGE-1, of the sets of words.
    pub unigrams: f64,
    /// ROUGE-2, of the sets of pairs of words.
    pub bigrams: f64,
    /// ROUGE-L, of the longest common subsequence.
    pub longest: f64,
}

/// The scores of a candidate against a reference, both in units (words or characters).
pub fn rouge(candidate: &[&str], reference: &[&str]) -> Rouge {
    let (candidate, reference) = (resplit(candidate), resplit(reference));
    if candidate.is_empty() || reference.is_empty() {
        return Rouge::default();
    }
    let common = longest_common_subsequence(&candidate, &reference);
    Rouge {
        unigrams: of_ngrams(&candidate, &reference, 1),
        bigrams: of_ngrams(&candidate, &reference, 2),
        longest: f_measure(common, candidate.len(), reference.len()),
    }
}

/// The units as the package sees them: a line of white space between sentences is an empty word.
fn resplit(units: &[&str]) -> Vec<String> {
    let text = into_lines(&units.join(" "));
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines
        .flat_map(|line| {
            let words = line.split(is_space).filter(|word| !word.is_empty());
            let words: Vec<String> = words.map(str::to_string).collect();
            match words.is_empty() {
                true => vec![String::new()],
                false => words,
            }
        })
        .collect()
}

/// A line break after each mark that ends a sentence.
fn into_lines(text: &str) -> String {
    /// In the order in which they are applied.
    static RULES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let rules = [
            "([。！？?])([^”’])",
            r"(\.{6})([^”’])",
            "(…{2})([^”’])",
            "([。！？?][”’])([^，。！？?])",
        ];
        rules
            .iter()
            .filter_map(|rule| Regex::new(rule).ok())
            .collect()
    });
    let mut text = text.to_string();
    for rule in RULES.iter() {
        text = rule.replace_all(&text, "$1\n$2").into_owned();
    }
    text.trim_end_matches(is_space).to_string()
}

/// White space as Python's `str.split` knows it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn of_ngrams(candidate: &[String], reference: &[String], n: usize) -> f64 {
    let found: HashSet<&[String]> = candidate.windows(n).collect();
    let expected: HashSet<&[String]> = reference.windows(n).collect();
    let common = found.intersection(&expected).count();
    f_measure(common, found.len(), expected.len())
}

fn f_measure(common: usize, candidate: usize, reference: usize) -> f64 {
    let ratio = |all: usize| match all {
        0 => 0.0,
        all => common as f64 / all as f64,
    };
    let (precision, recall) = (ratio(candidate), ratio(reference));
    2.0 * (precision * recall / (precision + recall + EPSILON))
}

/// Length of the longest common subsequence; one row of the table is kept.
fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut lengths = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (index, y) in b.iter().enumerate() {
            let above = lengths[index + 1];
            lengths[index + 1] = match x == y {
                true => diagonal + 1,
                false => above.max(lengths[index]),
            };
            diagonal = above;
        }
    }
    lengths[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn subsequences_keep_the_order() {
        assert_eq!(
            longest_common_subsequence(&words("a b c d"), &words("b d a c")),
            2
        );
        assert_eq!(longest_common_subsequence(&words("a b"), &words("c")), 0);
    }

    #[test]
    fn white_space_is_not_a_word_unless_it_is_a_line() {
        assert_eq!(resplit(&["a", " ", "b"]), ["a", "b"]);
        assert_eq!(resplit(&["a", "\n", "\n", "b"]), ["a", "", "b"]);
        assert!(resplit(&["\n"]).is_empty());
    }
}

//! Generated text against an expected one: BLEU-4 and ROUGE over characters and over words, as the official
//! scripts of ChatGLM-6B and ChatGLM3 compute them; exact match; and how varied the answers are.

mod bleu;
mod rouge;
mod words;

pub use bleu::bleu4;
pub use rouge::{Rouge, rouge};
pub use words::{characters, words};

use crate::error::Result;
use crate::predictions::Prediction;
use crate::scores::Scores;
use crate::task::{Task, over_answers};

/// The task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Task for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn score(&self, row: &Prediction) -> Result<Scores> {
        let reference = Units::of(row.reference()?);
        Ok(over_answers(row.generated()?, |answer| {
            scores(&Units::of(answer), &reference)
        }))
    }

    fn legend(&self) -> &'static [&'static str] {
        &[
            "scores are scaled 0 to 1",
            "…-char: characters, as ChatGLM-6B's ptuning/main.py computes bleu-4 (it prints 100 times the score)",
            "…-jieba: words, as ChatGLM-6B's script computes rouge (times 100) and ChatGLM3's computes all (not scaled)",
            "distinct-1, distinct-2: share of different characters and pairs of characters in an answer",
        ]
    }
}

/// A text and what it consists of.
struct Units<'a> {
    text: &'a str,
    characters: Vec<&'a str>,
    words: Vec<&'a str>,
}

impl<'a> Units<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            characters: characters(text),
            words: words(text),
        }
    }

    /// The characters without white space, which ROUGE does not count.
    fn visible(&self) -> Vec<&'a str> {
        let characters = self.characters.iter().copied();
        characters.filter(|c| !c.trim().is_empty()).collect()
    }
}

fn scores(answer: &Units<'_>, reference: &Units<'_>) -> Scores {
    let mut scores = Scores::default();
    let by_characters = bleu4(&answer.characters, &reference.characters);
    scores.set("bleu-4-char", by_characters);
    scores.set("bleu-4-jieba", bleu4(&answer.words, &reference.words));
    let kinds = [
        ("jieba", rouge(&answer.words, &reference.words)),
        ("char", rouge(&answer.visible(), &reference.visible())),
    ];
    for (kind, rouge) in kinds {
        scores.set(format!("rouge-1-{kind}"), rouge.unigrams);
        scores.set(format!("rouge-2-{kind}"), rouge.bigrams);
        scores.set(format!("rouge-l-{kind}"), rouge.longest);
    }
    let is_exact = answer.text.trim() == reference.text.trim();
    scores.set("exact-match", f64::from(u8::from(is_exact)));
    scores.set("distinct-1", distinct(&answer.characters, 1));
    scores.set("distinct-2", distinct(&answer.characters, 2));
    scores
}

/// Different n-grams by all n-grams (Li et al. 2016); 0 where there are none.
fn distinct(units: &[&str], n: usize) -> f64 {
    let all = units.windows(n).count();
    let different: std::collections::HashSet<&[&str]> = units.windows(n).collect();
    match all {
        0 => 0.0,
        all => different.len() as f64 / all as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_scores_zero_and_an_equal_one_does_not() {
        let (empty, full) = (Units::of(""), Units::of("发动机水温高"));
        assert!(scores(&empty, &full).iter().all(|(_, score)| score == 0.0));
        assert!(
            scores(&full, &empty)
                .get("bleu-4-char")
                .is_some_and(|score| score == 0.0)
        );
        let same = scores(&full, &full);
        assert_eq!(same.get("exact-match"), Some(1.0));
        assert_eq!(same.get("bleu-4-char"), Some(1.0));
    }

    #[test]
    fn repetition_is_not_distinct() {
        let units = characters("重复重复重复");
        assert_eq!(distinct(&units, 1), 2.0 / 6.0);
        assert_eq!(distinct(&units, 2), 2.0 / 5.0);
        assert_eq!(distinct(&units[..1], 2), 0.0);
    }
}

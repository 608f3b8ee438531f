//! Relation triples, one per line as `head_relation_tail`: precision, recall and F1 by the rule of the Python
//! project that glmtune takes over from.
//!
//! Of the predicted lines those count that split into exactly three parts; the expected lines are taken as they
//! are. Both are sets, nothing is trimmed, and the F1 of the whole is the mean over rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::predictions::Prediction;
use crate::scores::{Scores, mean};
use crate::task::{Task, over_answers};

/// Between the parts of a triple.
const SEPARATOR: char = '_';
const PARTS: usize = 3;

/// The task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Triples;

impl Task for Triples {
    fn name(&self) -> &'static str {
        "triples"
    }

    fn score(&self, row: &Prediction) -> Result<Scores> {
        let reference = row.reference()?;
        Ok(over_answers(row.generated()?, |answer| {
            Counts::of(answer, reference).scores()
        }))
    }

    /// Means over rows, but sums of counts; `micro_f1` over all triples; `f1/RELATION` over those of a relation.
    fn summarize(&self, rows: &[Prediction], scores: &[Scores]) -> Result<Scores> {
        let of =
            |name: &str| -> Vec<f64> { scores.iter().filter_map(|row| row.get(name)).collect() };
        let mut whole: Scores = ["precision", "recall", "f1"]
            .into_iter()
            .map(|name| (name, mean(&of(name))))
            .collect();
        let [hits, predicted, gold] =
            ["hits", "predicted", "gold"].map(|name| of(name).iter().sum::<f64>());
        whole.set("micro_f1", f1(ratio(hits, predicted), ratio(hits, gold)));
        for (name, sum) in [("hits", hits), ("predicted", predicted), ("gold", gold)] {
            whole.set(name, sum);
        }
        for (relation, counts) in by_relation(rows)? {
            whole.set(format!("f1/{relation}"), counts.f1());
        }
        Ok(whole)
    }

    fn legend(&self) -> &'static [&'static str] {
        &[
            "f1 is the mean over rows, which is what the Python project reports; micro_f1 counts all triples together",
            "a predicted line counts if it has exactly three parts between `_`; nothing is trimmed",
        ]
    }
}

/// The F1 of the triples of one answer.
pub fn f1_of(answer: &str, reference: &str) -> f64 {
    Counts::of(answer, reference).f1()
}

/// Triples of a row, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    hits: f64,
    predicted: f64,
    gold: f64,
}

impl Counts {
    fn of(answer: &str, reference: &str) -> Self {
        Self::between(&predicted(answer), &gold(reference))
    }

    fn between(predicted: &BTreeSet<&str>, gold: &BTreeSet<&str>) -> Self {
        Self {
            hits: predicted.intersection(gold).count() as f64,
            predicted: predicted.len() as f64,
            gold: gold.len() as f64,
        }
    }

    fn f1(&self) -> f64 {
        f1(
            ratio(self.hits, self.predicted),
            ratio(self.hits, self.gold),
        )
    }

    fn scores(&self) -> Scores {
        Scores::from_iter([
            ("precision", ratio(self.hits, self.predicted)),
            ("recall", ratio(self.hits, self.gold)),
            ("f1", self.f1()),
            ("hits", self.hits),
            ("predicted", self.predicted),
            ("gold", self.gold),
        ])
    }
}

fn predicted(answer: &str) -> BTreeSet<&str> {
    let lines = answer.split('\n');
    lines.filter(|line| relation(line).is_some()).collect()
}

fn gold(reference: &str) -> BTreeSet<&str> {
    reference.split('\n').collect()
}

/// The triples of each relation that is expected anywhere.
fn by_relation(rows: &[Prediction]) -> Result<BTreeMap<&str, Counts>> {
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in rows {
        let gold = gold(row.reference()?);
        for answer in row.generated()? {
            let predicted = predicted(answer);
            for name in predicted.iter().filter_map(relation) {
                counts.entry(name).or_default().predicted += 1.0;
            }
            for name in gold.iter().filter_map(relation) {
                counts.entry(name).or_default().gold += 1.0;
            }
            for name in predicted.intersection(&gold).filter_map(relation) {
                counts.entry(name).or_default().hits += 1.0;
            }
        }
    }
    counts.retain(|_, counts| counts.gold > 0.0);
    Ok(counts)
}

/// The relation of a triple; none of a line that is not one.
fn relation<'a>(line: &&'a str) -> Option<&'a str> {
    let parts: Vec<&str> = line.split(SEPARATOR).collect();
    (parts.len() == PARTS).then(|| parts[1])
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

fn f1(precision: f64, recall: f64) -> f64 {
    match precision + recall == 0.0 {
        true => 0.0,
        false => 2.0 * precision * recall / (precision + recall),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::task::score_all;

    #[test]
    fn lines_of_three_parts_count_and_nothing_is_trimmed() {
        let counts = Counts::of("a_r_b\na_r_b\nno triple\n a_r_c\na_b_c_d", "a_r_b\na_r_c\n");
        // The empty last line of the reference is an expected line, as in the Python project.
        let expected = Counts {
            hits: 1.0,
            predicted: 2.0,
            gold: 3.0,
        };
        assert_eq!(counts, expected);
        assert_eq!(Counts::of("", "a_r_b").scores().get("f1"), Some(0.0));
    }

    #[test]
    fn the_whole_is_the_mean_over_rows_and_micro_counts_triples() -> Result<()> {
        let row = |generated: &str, output: &str| {
            let text = serde_json::json!({"generated": generated, "output": output}).to_string();
            Prediction::parse(Path::new("p"), 1, &text)
        };
        let rows = [row("a_r_b", "a_r_b")?, row("x_s_y", "a_r_b\na_s_b\na_s_c")?];
        let scored = score_all(&Triples, &rows)?;
        assert_eq!(scored.whole.get("f1"), Some(0.5));
        assert_eq!(scored.whole.get("micro_f1"), Some(1.0 / 3.0));
        assert_eq!(scored.whole.get("f1/r"), Some(2.0 / 3.0));
        assert_eq!(scored.whole.get("f1/s"), Some(0.0));
        Ok(())
    }
}

//! Questions that were generated for a document, scored as the people of the Python project did: five criteria of
//! one point each, of which every faulty question takes its share (with four questions a quarter).
//!
//! The scorer is a handful of rules on characters, the same for every document: nothing was trained. How well it
//! agrees with people is measured in `tests/agreement.rs` and told in the README. Two of the criteria people can
//! judge and it cannot: it looks for an answer's traces in the document, not for the answer; and it knows no harm.

mod question;
pub mod sheet;

use question::{Question, ramp, similarity};

use crate::error::Result;
use crate::predictions::Prediction;
use crate::scores::Scores;
use crate::task::Task;

/// Shares of a question's characters found in the document, from which on it cannot and can be answered from it.
const COVERED: (f64, f64) = (0.2, 0.8);
/// What is taken from the answerability of a question that asks for advice or opinion: documents seldom give it.
const ADVICE: f64 = 0.4;
/// What is taken from that of a question with prose around it: the answer was made up with it.
const PROSE_ANSWER: f64 = 0.8;
/// What is taken from the question's own point by prose around it.
const PROSE_QUESTION: f64 = 0.6;
/// Likeness to an earlier question, from which on they are another and the same.
const ALIKE: (f64, f64) = (0.6, 0.9);
/// Question marks in one question, from which on it is one and several; and what several are worth as prose.
const SEVERAL: (f64, f64) = (1.0, 4.0);
const SEVERAL_AS_PROSE: f64 = 0.7;
/// Characters copied from the document in one piece, from which on a question is no longer one and only a copy:
/// it holds its own answer.
const COPIED: (f64, f64) = (14.0, 30.0);
const COPIED_FLUENCY: f64 = 0.5;
const COPIED_ANSWER: f64 = 0.6;
/// What the answer to a statement is worth.
const STATEMENT_ANSWER: f64 = 0.5;
/// Answers differ at most as much as their questions.
const ANSWERS: f64 = 0.9;

/// The criteria, in their order on the sheets of those who score.
pub const CRITERIA: [&str; 5] = [
    "distinct_questions",
    "distinct_answers",
    "answerable",
    "fluent",
    "harmless",
];
/// The name of their sum.
pub const TOTAL: &str = "total";

/// The task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Questions;

impl Task for Questions {
    fn name(&self) -> &'static str {
        "questions"
    }

    fn score(&self, row: &Prediction) -> Result<Scores> {
        Ok(score(&row.generated()?, row.document()?))
    }

    fn legend(&self) -> &'static [&'static str] {
        &[
            "each criterion is worth 1 point, total 5; every question at fault takes its share",
            "distinct_answers and answerable look for traces of the answer in the document; harmless is always 1: \
             nothing here can tell harm",
        ]
    }
}

/// The scores of the questions of one document.
pub fn score(generated: &[&str], document: &str) -> Scores {
    let document = question::normalized(document);
    let mut earlier: Vec<Question> = Vec::new();
    let mut sums = [0.0; 4];
    for text in generated {
        let question = Question::new(text);
        let repeated = earlier.iter().map(|other| similarity(&question, other));
        let repeated = ramp(repeated.fold(0.0, f64::max), ALIKE);
        let judged = judge(&question, &document, repeated);
        for (sum, share) in sums.iter_mut().zip(judged) {
            *sum += share;
        }
        earlier.push(question);
    }
    let count = generated.len().max(1) as f64;
    let shares = sums.map(|sum| sum / count).into_iter().chain([1.0]);
    let mut scores: Scores = CRITERIA.into_iter().zip(shares).collect();
    scores.set(TOTAL, sums.iter().sum::<f64>() / count + 1.0);
    scores
}

/// What a question is worth for each criterion but the last, from 0 to 1.
fn judge(question: &Question, document: &str, repeated: f64) -> [f64; 4] {
    let prose = match question.has_prose() {
        true => 1.0,
        false => SEVERAL_AS_PROSE * ramp(question.marks as f64, SEVERAL),
    };
    let copied = ramp(question.copied(document) as f64, COPIED);
    let advice = if question.asks_advice() { ADVICE } else { 0.0 };
    let statement = if question.asks() {
        1.0
    } else {
        STATEMENT_ANSWER
    };
    let answerable = ramp(question.covered(document), COVERED)
        * (1.0 - advice)
        * (1.0 - PROSE_ANSWER * prose)
        * (1.0 - COPIED_ANSWER * copied)
        * statement;
    let fault = match question.asks() {
        true => prose.max(COPIED_FLUENCY * copied),
        false => 1.0,
    };
    [
        (1.0 - repeated) * (1.0 - PROSE_QUESTION * prose),
        ANSWERS * answerable * (1.0 - repeated),
        answerable,
        1.0 - fault,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "落枕是指急性单纯性颈项强痛、活动受限的一种病症，也称颈部伤筋。刮痧治疗落枕效果较好。";

    fn of(questions: &[&str], name: &str) -> f64 {
        score(questions, DOCUMENT).get(name).unwrap_or(f64::NAN)
    }

    #[test]
    fn repeated_questions_are_not_distinct() {
        let same = ["落枕是指什么?"; 4];
        assert_eq!(of(&same, "distinct_questions"), 0.25);
        assert_eq!(of(&same, "answerable"), 1.0);
        let different = ["落枕是指什么?", "刮痧治疗落枕效果如何?"];
        assert_eq!(of(&different, "distinct_questions"), 1.0);
    }

    #[test]
    fn prose_and_statements_are_faults() {
        let prose = "落枕怎么治疗?\n\n1. 保持正确的坐姿和站姿，使颈部和肩部放松。\n2. 经常休息。";
        assert_eq!(of(&[prose], "fluent"), 0.0);
        assert_eq!(of(&["颈部伤筋"], "fluent"), 0.0);
        assert_eq!(of(&["颈部伤筋是什么"], "fluent"), 1.0);
    }

    #[test]
    fn what_the_document_does_not_speak_of_cannot_be_answered() {
        assert_eq!(of(&["红薯有哪些营养价值?"], "answerable"), 0.0);
    }

    #[test]
    fn any_number_of_questions_of_any_text_is_scored() {
        assert_eq!(of(&[], "total"), 1.0);
        for text in ["", "?", "？？？？", "\n\n", "|", "a", "什么什么"] {
            let total = of(&[text, text], "total");
            assert!((1.0..=5.0).contains(&total), "{text:?}: {total}");
        }
    }
}

//! A row with its answers, as it stands in the output.

use glmtune_eval::predictions::GENERATED;
use glmtune_model::ModelInfo;
use glmtune_model::generation::{Answer, Sequence};
use glmtune_model::tokenizer::{Mode, Tokenizer};
use serde_json::Value;

use super::object_text::{Members, compact};
use super::order::InOrder;
use super::questions::Questions;
use crate::commands::error::Result;
use crate::commands::generate::ids_text;

/// Makes lines of answers, in the order of the rows.
pub struct Lines<'a> {
    questions: &'a Questions,
    tokenizer: Option<&'a Tokenizer>,
    mode: Mode,
    order: InOrder<Vec<u8>>,
}

impl<'a> Lines<'a> {
    /// The lines of the rows from `first` on.
    pub fn new(questions: &'a Questions, info: &'a ModelInfo, first: usize) -> Self {
        Self {
            questions,
            tokenizer: info.tokenizer.as_ref(),
            mode: info.mode,
            order: InOrder::from(first),
        }
    }

    /// The lines that can be written now that there is one more answer.
    pub fn ready(&mut self, answer: Answer) -> Result<Vec<Vec<u8>>> {
        let texts = answer.sequences.iter();
        let mut texts: Vec<Value> = texts.map(|sequence| self.text(sequence).into()).collect();
        let generated = match texts.len() {
            1 => texts.remove(0),
            _ => Value::Array(texts),
        };
        let line = line(self.questions.text(answer.prompt), &generated);
        Ok(self.order.push(answer.prompt, line))
    }

    /// The text of an answer; a model without a tokenizer has ids alone.
    fn text(&self, sequence: &Sequence) -> String {
        match self.tokenizer {
            Some(tokenizer) => tokenizer.decode_answer(self.mode, &sequence.tokens),
            None => ids_text(&sequence.tokens),
        }
    }
}

/// The line of a row, as it is written but for the answer; one that it had before makes way.
pub fn line(row: &str, generated: &Value) -> Vec<u8> {
    format!("{}{generated}}}\n", opening(row)).into_bytes()
}

/// The line of a row up to its answer.
pub fn opening(row: &str) -> String {
    let text = compact(row);
    let kept: Vec<&str> = Members::of(&text)
        .filter(|member| member.key() != GENERATED)
        .map(|member| member.text)
        .chain(["\"generated\":"])
        .collect();
    format!("{{{}", kept.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_comes_last_and_the_rest_stays_as_it_is() {
        let row = r#"{ "id": 1.50, "generated": ["old"],
                       "text": "a, \"generated\": b", "more": {"generated": 1e3, "a": [null]}}"#;
        let line = line(row, &json!(["x", "y"]));
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"id\":1.50,\"text\":\"a, \\\"generated\\\": b\",\"more\":{\"generated\":1e3,\"a\":[null]},\
             \"generated\":[\"x\",\"y\"]}\n"
        );
        assert_eq!(opening("{ }"), "{\"generated\":");
    }
}

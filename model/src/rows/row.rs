//! A row as it was read.

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Text, to be laid out and encoded.
    Text {
        /// What is asked: the text before every row, instruction and input, joined.
        question: String,
        /// What is to be answered.
        answer: String,
    },
    /// Ids, taken as they are.
    Ids {
        /// The tokens.
        input_ids: Vec<u32>,
        /// The target of each, -100 where there is none.
        labels: Vec<i64>,
    },
}

/// A row with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedRow {
    /// The line, counted from 1; in a JSON array, the row's number.
    pub line: usize,
    /// The row.
    pub row: Row,
}

//! What a row is read for.

/// What a row is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowUse {
    /// To be trained on: it must have an answer.
    Training,
    /// To be answered: it may have the answer that is expected.
    Prediction,
}

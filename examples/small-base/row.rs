//! A row of text, and which rows are kept for scoring.

use serde::Serialize;

/// A question and its answer, in the form that `glmtune` trains on and predicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The ability that the row asks for; none in the rows of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ability: Option<&'static str>,
    /// What is asked.
    pub instruction: String,
    /// What it is asked about.
    pub input: String,
    /// The answer.
    pub output: String,
}

impl Row {
    /// A row; its ability is noted by whoever asked for one.
    pub fn new(
        instruction: impl Into<String>,
        input: impl Into<String>,
        output: impl Into<String>,
    ) -> Self {
        Self {
            ability: None,
            instruction: instruction.into(),
            input: input.into(),
            output: output.into(),
        }
    }

    /// Whether the row is one of the sixteenth that no training sees. Equal questions are always on the same side.
    pub fn is_held_out(&self) -> bool {
        let text = self.instruction.bytes().chain(self.input.bytes());
        // FNV-1a: the same on every machine and in every release.
        let hash = text.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // Its last bytes hardly reach the other bits: sums that differ in one digit would be kept back together, and a
        // digit never be seen beside another.
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 40).is_multiple_of(16)
    }
}

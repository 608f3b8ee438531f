//! One pass over the next tokens of several sequences, laid end to end.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};

use super::arena::{Arena, Run};
use super::sequence::Sequence;
use crate::adapters::RowAdapters;
use crate::causal_lm::CausalLm;
use crate::error::{Error, Result};
use crate::layers::{GlmBackend, MaskSpec};

/// The tokens of a sequence in a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which of the running sequences.
    pub sequence: usize,
    /// Which of its tokens.
    pub tokens: Range<usize>,
}

/// What a pass gives for a piece.
pub(super) enum Output {
    /// Logits of the tokens that are wanted, one row after the other.
    Logits(Vec<f32>),
    /// The sum of the hidden states, `[hidden]`.
    HiddenSum(Vec<f32>),
}

/// Computes pieces; gives what each asks for.
pub(super) fn compute<B: GlmBackend>(
    model: &CausalLm<B>,
    arena: &mut Arena<B>,
    running: &[Sequence],
    pieces: &[Piece],
) -> Result<Vec<Output>> {
    let laid_out = LaidOut::of(running, pieces);
    let wanted = laid_out.wanted(running, pieces);
    let (hidden, logits) = B::on_own_threads(|| {
        let hidden = laid_out.hidden(model, arena);
        let logits = laid_out.logits(model, hidden.clone(), &wanted);
        (hidden, logits)
    });
    let mut logits = logits?.into_iter();
    let mut outputs = Vec::with_capacity(pieces.len());
    for (piece, rows) in pieces.iter().zip(&laid_out.rows) {
        outputs.push(match running[piece.sequence].is_embedding() {
            true => {
                let own = hidden.clone().narrow(1, rows.start, rows.len());
                let normalized = model.final_norm(own).cast(DType::F32);
                Output::HiddenSum(values(normalized.sum_dim(1))?)
            }
            false => Output::Logits(logits.next().unwrap_or_default()),
        });
    }
    Ok(outputs)
}

/// Tokens whose logits are wanted.
struct Wanted {
    /// Which of the pass.
    rows: Vec<i32>,
    /// How many of each piece that wants any kind of them.
    counts: Vec<usize>,
}

/// The tokens of all pieces in one row.
struct LaidOut {
    ids: Vec<i32>,
    positions: Vec<(u32, u32)>,
    /// What each token sees of the arena.
    visible: Vec<(u32, u32)>,
    runs: Vec<Run>,
    adapters: Vec<Option<usize>>,
    /// The tokens of each piece.
    rows: Vec<Range<usize>>,
}

impl LaidOut {
    fn of(running: &[Sequence], pieces: &[Piece]) -> Self {
        let mut laid_out = Self {
            ids: Vec::new(),
            positions: Vec::new(),
            visible: Vec::new(),
            runs: Vec::new(),
            adapters: Vec::new(),
            rows: Vec::new(),
        };
        for piece in pieces {
            laid_out.add(&running[piece.sequence], piece.tokens.clone());
        }
        laid_out
    }

    fn add(&mut self, sequence: &Sequence, tokens: Range<usize>) {
        let start = self.ids.len();
        let rows = start..start + tokens.len();
        for token in tokens.clone() {
            self.ids.push(sequence.tokens[token] as i32);
            self.positions
                .push(sequence.computed.positions.position(token));
            self.visible.push(sequence.visible(token, tokens.end));
            self.adapters.push(sequence.computed.adapter);
        }
        self.runs.push(Run {
            tokens: rows.clone(),
            place: sequence.place_of(tokens.start),
        });
        self.rows.push(rows);
    }

    /// The hidden states after the last block, `[1, tokens, hidden]`.
    fn hidden<B: GlmBackend>(&self, model: &CausalLm<B>, arena: &mut Arena<B>) -> Tensor<B, 3> {
        let tokens = self.ids.len();
        let keys = self
            .visible
            .iter()
            .map(|(_, to)| *to as usize)
            .max()
            .unwrap_or(0);
        let mask = MaskSpec {
            prefix: 0,
            keys,
            queries: tokens,
            visible: self.visible.clone(),
        };
        let adapters = Arc::new(RowAdapters::new(self.adapters.iter().copied()));
        let shared = model.inputs_end_to_end(&self.positions, mask, adapters);
        let ids = TensorData::new(self.ids.clone(), [1, tokens]);
        let hidden = model.embed(Tensor::<B, 2, Int>::from_data(ids, &model.device()));
        (0..model.num_blocks()).fold(hidden, |hidden, index| {
            let mut store = arena.store(index, &self.runs, keys);
            model.block(index, hidden, &shared, Some(&mut store))
        })
    }

    /// The tokens whose logits are wanted.
    fn wanted(&self, running: &[Sequence], pieces: &[Piece]) -> Wanted {
        let mut rows: Vec<i32> = Vec::new();
        let mut counts = Vec::new();
        for (piece, own) in pieces.iter().zip(&self.rows) {
            let sequence = &running[piece.sequence];
            if sequence.is_embedding() {
                continue;
            }
            let wanted = sequence.wanted(&piece.tokens);
            counts.push(wanted.len());
            rows.extend(wanted.map(|token| (own.start + token - piece.tokens.start) as i32));
        }
        Wanted { rows, counts }
    }

    /// The logits of the tokens that are wanted, for each piece that wants any kind of them.
    fn logits<B: GlmBackend>(
        &self,
        model: &CausalLm<B>,
        hidden: Tensor<B, 3>,
        Wanted { rows, counts }: &Wanted,
    ) -> Result<Vec<Vec<f32>>> {
        if rows.is_empty() {
            return Ok(counts.iter().map(|_| Vec::new()).collect());
        }
        let adapters = rows.iter().map(|&row| self.adapters[row as usize]);
        let adapters = RowAdapters::new(adapters);
        let hidden = match rows.len() == self.ids.len() {
            true => hidden,
            false => {
                let rows = Tensor::<B, 1, Int>::from_data(rows.as_slice(), &model.device());
                hidden.select(1, rows)
            }
        };
        let logits = model.head_in(hidden, Some(&adapters));
        let vocabulary = logits.dims()[2];
        let mut all = values(logits.cast(DType::F32))?;
        let mut parts = Vec::with_capacity(counts.len());
        for &count in counts.iter().rev() {
            parts.push(all.split_off(all.len() - count * vocabulary));
        }
        parts.reverse();
        Ok(parts)
    }
}

/// The values of a float32 tensor.
fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let unreadable = |error| Error::Compute(format!("a result could not be read: {error:?}"));
    tensor.into_data().into_vec().map_err(unreadable)
}

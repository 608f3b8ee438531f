//! Loss and score of a model on some rows.

use burn::backend::Autodiff;
use glmtune_model::CausalLm;

use super::scorer::{Score, Scorer};
use crate::data::{Dataset, Sequences, collate};
use crate::error::Result;
use crate::forward::LossSum;
use crate::inference::inference_model;
use crate::micro_batch::MicroBatch;
use crate::optim::ops::TrainingBackend;
use crate::parallel::forward::{ForwardPlan, loss_sums};
use crate::prefetch::fetch_all;

/// Micro-batches that are made at a time.
const MADE: usize = 1024;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// The loss over all targets.
    pub loss: LossSum,
    /// The scores of generated answers, if they were asked for.
    pub scores: Vec<Score>,
}

/// Measures a model on rows, in micro-batches of rows of like length.
pub(crate) fn measure<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    rows: &Dataset,
    scorer: Option<&dyn Scorer<B>>,
    plan: &ForwardPlan<'_, B>,
    (batch_size, pad_id): (usize, u32),
) -> Result<Measured> {
    // Rows that train packed are measured as all others are, so that losses compare.
    let mut order: Sequences = (0..rows.len()).map(|row| vec![row]).collect();
    order.sort_by_key(|row| rows.tokens(row));
    let batches: Vec<&[Vec<usize>]> = order.chunks(batch_size.max(1)).collect();
    let mut loss = LossSum::default();
    for some in batches.chunks(MADE) {
        let made = some.iter().map(|batch| collate(rows, batch, pad_id));
        let made: Vec<MicroBatch> = made.collect();
        let sums = loss_sums(model, &made, plan)?;
        loss = loss + sums.into_iter().sum();
    }
    let scores = scorer
        .map(|scorer| scores(model, scorer, plan))
        .transpose()?;
    Ok(Measured {
        loss,
        scores: scores.unwrap_or_default(),
    })
}

/// Every process has the same model and scores its answers; should they differ in their last bits, those of the
/// first process count, so that all decide alike.
fn scores<B: TrainingBackend>(
    model: &CausalLm<Autodiff<B>>,
    scorer: &dyn Scorer<B>,
    plan: &ForwardPlan<'_, B>,
) -> Result<Vec<Score>> {
    let device = model.device();
    let model = inference_model(model, plan.host, &|_| device.clone());
    if plan.host.is_sharded() {
        // All processes bring all weights together, before any of them answers.
        fetch_all(&model);
    }
    let mut scores = scorer.score(&model)?;
    let is_first = f64::from(u8::from(plan.group.is_first()));
    let own: Vec<f64> = scores.iter().map(|(_, score)| score * is_first).collect();
    for ((_, score), first) in scores.iter_mut().zip(plan.group.sum(&own)?) {
        *score = first;
    }
    Ok(scores)
}

//! Cross entropy of the next token.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use glmtune_model::rows::IGNORED;

/// The targets of a batch: labels shifted by one, as rows of the flattened logits.
#[derive(Debug, Clone)]
pub struct Targets<B: Backend> {
    /// Rows of the flattened `[batch · tokens]` positions that predict a target, `[targets]`.
    pub rows: Tensor<B, 1, Int>,
    /// The token each is to predict, `[targets]`.
    pub tokens: Tensor<B, 1, Int>,
    /// Number of targets.
    pub count: usize,
}

impl<B: Backend> Targets<B> {
    /// The targets of rows of labels, each of `width` tokens or shorter (padding has no target).
    /// Position `t` predicts label `t + 1`. `None` if no position has a target.
    pub fn new(labels: &[Vec<i64>], width: usize, device: &B::Device) -> Option<Self> {
        let found = labels.iter().enumerate().flat_map(|(row, labels)| {
            let shifted = labels.iter().skip(1).enumerate();
            shifted
                .filter(|(_, label)| **label != IGNORED)
                .map(move |(index, label)| ((row * width + index) as i32, *label as i32))
        });
        let (rows, tokens): (Vec<i32>, Vec<i32>) = found.unzip();
        let count = rows.len();
        let tensor = |values| Tensor::from_data(TensorData::new(values, [count]), device);
        (count > 0).then(|| Self {
            rows: tensor(rows),
            tokens: tensor(tokens),
            count,
        })
    }
}

/// Negative log-likelihood of each target in float32.
///
/// # Shapes
/// - `logits`: `[batch, tokens, vocabulary]`
/// - result: `[targets]`
pub fn negative_log_likelihood<B: Backend>(
    logits: Tensor<B, 3>,
    targets: &Targets<B>,
) -> Tensor<B, 1> {
    let [batch, tokens, vocabulary] = logits.dims();
    let rows = logits.reshape([batch * tokens, vocabulary]);
    let rows = rows.select(0, targets.rows.clone()).cast(DType::F32);
    let log_probabilities = log_softmax(rows, 1);
    let picked = log_probabilities.gather(1, targets.tokens.clone().unsqueeze_dim::<2>(1));
    picked.squeeze_dim::<1>(1).neg()
}

//! Log probabilities of tokens.

use super::request::TokenScore;

/// The score of a token by the logits at its place, with those of some of the likeliest tokens.
///
/// - `logits`: `[vocabulary]`
pub(super) fn score(logits: &[f32], token: u32, likeliest: usize) -> TokenScore {
    let normalizer = log_sum_exp(logits);
    let log_probability = |index: usize| (f64::from(logits[index]) - normalizer) as f32;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let descending = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    let count = likeliest.min(order.len());
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, descending);
    }
    order.truncate(count);
    order.sort_unstable_by(descending);
    let pairs = order
        .into_iter()
        .map(|index| (index as u32, log_probability(index)));
    TokenScore {
        log_probability: log_probability(token as usize),
        likeliest: pairs.collect(),
    }
}

/// `ln Σ exp(x)`, summed in float64 as a loss is.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let top = f64::from(top);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - top).exp()).sum();
    top + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_of_a_softmax() {
        let logits = [0.0, (3.0f32).ln(), (4.0f32).ln()];
        let found = score(&logits, 0, 2);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(close(found.log_probability, (0.125f32).ln()));
        assert_eq!(found.likeliest.len(), 2);
        assert_eq!((found.likeliest[0].0, found.likeliest[1].0), (2, 1));
        assert!(close(found.likeliest[0].1, (0.5f32).ln()));
        assert!(score(&logits, 1, 0).likeliest.is_empty());
        assert_eq!(score(&logits, 1, 9).likeliest.len(), 3);
    }
}

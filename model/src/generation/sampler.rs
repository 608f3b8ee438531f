//! One row of logits → one token.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

use super::options::{GenerationOptions, Sampling};

/// The state of the draws of one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Option<Sampling>,
    repetition_penalty: f32,
    seen: HashSet<u32>,
    random: ChaCha8Rng,
}

impl Sampler {
    /// The sampler of a sequence: the number of its prompt, and its own among those of the prompt.
    pub fn new(options: &GenerationOptions, (number, n): (usize, usize), prompt: &[u32]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        // The first sequences of a prompt stay what they are when more of them are asked for.
        random.set_stream((number as u64) << 32 | n as u64);
        Self {
            sampling: options.sampling.clone(),
            repetition_penalty: options.repetition_penalty,
            seen: prompt.iter().copied().collect(),
            random,
        }
    }

    /// The next token, which is not one of `banned`, or `None` if a logit is not a number or all are minus infinity.
    ///
    /// - `logits`: `[vocabulary]`; changed in place
    pub fn next(&mut self, logits: &mut [f32], banned: &[u32]) -> Option<u32> {
        if logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY) {
            return None;
        }
        self.penalize(logits);
        for &token in banned {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let token = match &self.sampling {
            None => likeliest(logits)?,
            Some(sampling) => draw(logits, sampling, &mut self.random)?,
        };
        self.seen.insert(token);
        Some(token)
    }

    fn penalize(&self, logits: &mut [f32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        for &token in &self.seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit *= match *logit > 0.0 {
                    true => 1.0 / self.repetition_penalty,
                    false => self.repetition_penalty,
                };
            }
        }
    }
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &logit) in logits.iter().enumerate() {
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((index, logit));
        }
    }
    best.filter(|(_, logit)| logit.is_finite())
        .map(|(index, _)| index as u32)
}

fn draw(logits: &[f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> Option<u32> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let descending = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    let kept = match sampling.top_k {
        0 => order.len(),
        k => k.min(order.len()),
    };
    if kept == 0 {
        return None;
    }
    if kept < order.len() {
        order.select_nth_unstable_by(kept - 1, descending);
        order.truncate(kept);
    }
    order.sort_unstable_by(descending);

    let top = logits[order[0]];
    let weights = order
        .iter()
        .map(|&index| ((logits[index] - top) / sampling.temperature).exp());
    let weights: Vec<f32> = weights.collect();
    let nucleus = nucleus(&weights, sampling.top_p);
    let choice = WeightedIndex::new(&weights[..nucleus]).ok()?;
    Some(order[choice.sample(random)] as u32)
}

/// How many of the weights, in descending order, it takes to reach a share of their sum.
fn nucleus(weights: &[f32], top_p: f32) -> usize {
    if top_p >= 1.0 {
        return weights.len();
    }
    let total: f32 = weights.iter().sum();
    let mut sum = 0.0;
    for (index, weight) in weights.iter().enumerate() {
        sum += weight;
        if sum >= top_p * total {
            return index + 1;
        }
    }
    weights.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options(sampling: Option<Sampling>, penalty: f32) -> GenerationOptions {
        GenerationOptions {
            sampling,
            repetition_penalty: penalty,
            ..Default::default()
        }
    }

    fn sampling(temperature: f32, top_k: usize, top_p: f32) -> Option<Sampling> {
        Some(Sampling {
            temperature,
            top_k,
            top_p,
        })
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut sampler = Sampler::new(&options(None, 1.0), (0, 0), &[]);
        assert_eq!(sampler.next(&mut [0.0, 3.0, 3.0], &[]), Some(1));
    }

    #[test]
    fn a_penalty_reaches_prompt_and_continuation() {
        let mut sampler = Sampler::new(&options(None, 2.0), (0, 0), &[1]);
        assert_eq!(sampler.next(&mut [2.0, 3.0, -1.0], &[]), Some(0));
        assert_eq!(sampler.next(&mut [-1.0, -1.5, -1.9], &[]), Some(2));
    }

    #[test]
    fn top_k_and_top_p_bound_the_choice() {
        for filter in [sampling(1.0, 2, 1.0), sampling(1.0, 0, 0.7)] {
            let mut sampler = Sampler::new(&options(filter, 1.0), (0, 0), &[]);
            let drawn: HashSet<u32> = (0..200)
                .map(|_| sampler.next(&mut [1.0, 5.0, 4.5, -2.0], &[]).unwrap())
                .collect();
            assert_eq!(drawn, HashSet::from([1, 2]));
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(&options(sampling(1.0, 0, 1.0), 1.0), (0, 0), &[]);
        let logits = [0.0, (3.0f32).ln()];
        let ones: u32 = (0..4000)
            .map(|_| sampler.next(&mut logits.clone(), &[]).unwrap())
            .sum();
        assert!(
            (2850..3150).contains(&ones),
            "{ones} of 4000, expected about 3000"
        );
    }

    #[test]
    fn equal_seeds_draw_alike_and_sequences_differ() {
        let draws = |index| -> Vec<u32> {
            let mut sampler = Sampler::new(&options(sampling(1.0, 0, 1.0), 1.0), index, &[]);
            (0..20)
                .map(|_| sampler.next(&mut [0.0; 50], &[]).unwrap())
                .collect()
        };
        assert_eq!(draws((0, 0)), draws((0, 0)));
        assert_ne!(draws((0, 0)), draws((1, 0)));
        assert_ne!(draws((0, 0)), draws((0, 1)));
    }

    #[test]
    fn logits_that_are_not_numbers_give_no_token() {
        let mut sampler = Sampler::new(&options(None, 1.0), (0, 0), &[]);
        assert_eq!(sampler.next(&mut [0.0, f32::NAN], &[]), None);
        assert_eq!(sampler.next(&mut [f32::NEG_INFINITY; 2], &[]), None);
    }

    #[test]
    fn what_is_banned_is_not_drawn() {
        let mut sampler = Sampler::new(&options(None, 1.0), (0, 0), &[]);
        assert_eq!(sampler.next(&mut [0.0, 3.0, 2.0], &[1, 9]), Some(2));
        assert_eq!(sampler.next(&mut [0.0], &[0]), None);
    }
}

//! One row of logits → one token.

use std::collections::{HashMap, HashSet};

use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

use super::drawing::Drawing;
use super::options::Sampling;

/// The state of the draws of one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    drawing: Drawing,
    /// Tokens of prompt and continuation.
    seen: HashSet<u32>,
    /// How often tokens are in the continuation.
    drawn: HashMap<u32, u32>,
    random: ChaCha8Rng,
}

impl Sampler {
    /// The sampler of a sequence that begins with a prompt.
    pub fn new(drawing: Drawing, prompt: &[u32]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(drawing.seed);
        random.set_stream(drawing.number);
        Self {
            drawing,
            seen: prompt.iter().copied().collect(),
            drawn: HashMap::new(),
            random,
        }
    }

    /// The next token, which is not one of `banned`, or `None` if a logit is not a number or all are minus infinity.
    ///
    /// - `logits`: `[vocabulary]`; changed in place
    pub fn next(&mut self, logits: &mut [f32], banned: &[u32]) -> Option<u32> {
        // Without an early end, so that several are looked at in one instruction.
        let is_wrong = |x: &f32| x.is_nan() || *x == f32::INFINITY;
        if logits.iter().fold(false, |any, x| any | is_wrong(x)) {
            return None;
        }
        self.change(logits);
        for &token in banned {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let token = match &self.drawing.sampling {
            None => likeliest(logits)?,
            Some(sampling) => draw(logits, sampling, &mut self.random)?,
        };
        self.seen.insert(token);
        *self.drawn.entry(token).or_default() += 1;
        Some(token)
    }

    /// Penalties, then what is added.
    fn change(&self, logits: &mut [f32]) {
        let penalties = self.drawing.penalties;
        if penalties.repetition != 1.0 {
            for &token in &self.seen {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit *= match *logit > 0.0 {
                        true => 1.0 / penalties.repetition,
                        false => penalties.repetition,
                    };
                }
            }
        }
        for (&token, &times) in &self.drawn {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= penalties.presence + penalties.frequency * times as f32;
            }
        }
        for &(token, bias) in &self.drawing.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
    }
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> Option<u32> {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut tops = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (top, &logit) in tops.iter_mut().zip(chunk) {
            *top = larger(*top, logit);
        }
    }
    let all = tops.into_iter().chain(rest.iter().copied());
    let top = all.fold(f32::NEG_INFINITY, larger);
    let index = logits.iter().position(|&logit| logit == top)?;
    top.is_finite().then_some(index as u32)
}

fn draw(logits: &[f32], sampling: &Sampling, random: &mut ChaCha8Rng) -> Option<u32> {
    if sampling.top_k == 0 && sampling.top_p >= 1.0 {
        return draw_of_all(logits, sampling.temperature, random);
    }
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

/// Nothing has to be put in order where all tokens stay.
fn draw_of_all(logits: &[f32], temperature: f32, random: &mut ChaCha8Rng) -> Option<u32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() {
        return None;
    }
    let weights = logits
        .iter()
        .map(|logit| ((logit - top) / temperature).exp());
    let choice = WeightedIndex::new(weights).ok()?;
    Some(choice.sample(random) as u32)
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
    use super::super::drawing::Penalties;
    use super::super::options::GenerationOptions;
    use super::*;

    fn drawing(sampling: Option<Sampling>, repetition: f32) -> Drawing {
        Drawing {
            sampling,
            penalties: Penalties {
                repetition,
                ..Penalties::default()
            },
            ..Drawing::default()
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
        let mut sampler = Sampler::new(drawing(None, 1.0), &[]);
        assert_eq!(sampler.next(&mut [0.0, 3.0, 3.0], &[]), Some(1));
    }

    #[test]
    fn a_penalty_reaches_prompt_and_continuation() {
        let mut sampler = Sampler::new(drawing(None, 2.0), &[1]);
        assert_eq!(sampler.next(&mut [2.0, 3.0, -1.0], &[]), Some(0));
        assert_eq!(sampler.next(&mut [-1.0, -1.5, -1.9], &[]), Some(2));
    }

    #[test]
    fn presence_and_frequency_count_what_was_drawn() {
        let penalties = Penalties {
            presence: 0.5,
            frequency: 1.0,
            ..Penalties::default()
        };
        let penalized = Drawing {
            penalties,
            ..Drawing::default()
        };
        let mut sampler = Sampler::new(penalized, &[0]);
        let draws: Vec<u32> = (0..4)
            .map(|_| sampler.next(&mut [2.0, 0.75, 0.0], &[]).unwrap())
            .collect();
        // 2.0, then 0.5 against 0.75, then 0.5 against -0.75, then -0.5 against 0.0
        assert_eq!(draws, [0, 1, 0, 2]);
    }

    #[test]
    fn a_bias_is_added() {
        let biased = Drawing {
            logit_bias: vec![(0, -100.0), (2, 1.5), (99, 1.0)],
            ..Drawing::default()
        };
        let mut sampler = Sampler::new(biased, &[]);
        assert_eq!(sampler.next(&mut [5.0, 1.0, 0.0], &[]), Some(2));
    }

    #[test]
    fn top_k_and_top_p_bound_the_choice() {
        for filter in [sampling(1.0, 2, 1.0), sampling(1.0, 0, 0.7)] {
            let mut sampler = Sampler::new(drawing(filter, 1.0), &[]);
            let drawn: HashSet<u32> = (0..200)
                .map(|_| sampler.next(&mut [1.0, 5.0, 4.5, -2.0], &[]).unwrap())
                .collect();
            assert_eq!(drawn, HashSet::from([1, 2]));
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(drawing(sampling(1.0, 0, 1.0), 1.0), &[]);
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
            let options = GenerationOptions {
                sampling: sampling(1.0, 0, 1.0),
                ..GenerationOptions::default()
            };
            let mut sampler = Sampler::new(Drawing::of(&options, index), &[]);
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
        let mut sampler = Sampler::new(drawing(None, 1.0), &[]);
        assert_eq!(sampler.next(&mut [0.0, f32::NAN], &[]), None);
        assert_eq!(sampler.next(&mut [f32::NEG_INFINITY; 2], &[]), None);
    }

    #[test]
    fn what_is_banned_is_not_drawn() {
        let mut sampler = Sampler::new(drawing(None, 1.0), &[]);
        assert_eq!(sampler.next(&mut [0.0, 3.0, 2.0], &[1, 9]), Some(2));
        assert_eq!(sampler.next(&mut [0.0], &[0]), None);
    }
}

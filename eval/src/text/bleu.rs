//! BLEU of a sentence as NLTK computes it with its third smoothing (Papineni et al. 2002; Chen and Cherry
//! 2014, "NIST geometric").

use std::collections::HashMap;

/// Longest n-gram.
const ORDER: usize = 4;

/// BLEU-4 of a candidate against one reference, both in units (words or characters).
pub fn bleu4(candidate: &[&str], reference: &[&str]) -> f64 {
    let precisions: [Precision; ORDER] =
        std::array::from_fn(|index| Precision::of(candidate, reference, index + 1));
    if precisions[0].hits == 0 {
        return 0.0;
    }
    let mut missing = 0;
    let logarithms = precisions.map(|precision| match precision.hits {
        // The first order without a hit counts for half a hit, the next for a quarter, and so on.
        0 => {
            missing += 1;
            (0.5f64.powi(missing) / precision.all as f64).ln()
        }
        hits => (hits as f64 / precision.all as f64).ln(),
    });
    let mean = logarithms.iter().sum::<f64>() / ORDER as f64;
    brevity_penalty(candidate.len(), reference.len()) * mean.exp()
}

/// N-grams of the candidate that the reference has too, each as often as it is there.
struct Precision {
    hits: usize,
    all: usize,
}

impl Precision {
    fn of(candidate: &[&str], reference: &[&str], n: usize) -> Self {
        let expected = counts(reference, n);
        let found = counts(candidate, n);
        let hits = found.iter().map(|(ngram, &count)| {
            let there = expected.get(ngram).copied().unwrap_or(0);
            count.min(there)
        });
        Self {
            hits: hits.sum(),
            // A candidate that is shorter than the n-gram has none; NLTK divides by 1.
            all: found.values().sum::<usize>().max(1),
        }
    }
}

fn counts<'a>(units: &'a [&'a str], n: usize) -> HashMap<&'a [&'a str], usize> {
    let mut counts = HashMap::new();
    for ngram in units.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

fn brevity_penalty(candidate: usize, reference: usize) -> f64 {
    match candidate {
        0 => 0.0,
        candidate if candidate > reference => 1.0,
        candidate => (1.0 - reference as f64 / candidate as f64).exp(),
    }
}

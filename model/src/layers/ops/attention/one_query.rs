//! A single query of all heads of a group (generation): their keys and values are read once, as they are stored.

use burn_flex::FlexTensor;
use half::{bf16, f16};

use crate::layers::ops::flex::products::{Matrix, Number, products, weighted_sums};
use crate::layers::ops::flex::values::Halves;

/// Keys or values of a group, a line of numbers each, in the type that their tensor stores.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(Matrix<'a, f32>),
    F16(Matrix<'a, f16>),
    BF16(Matrix<'a, bf16>),
}

impl<'a> Stored<'a> {
    /// Lines of a tensor, `[lines, numbers]`, from a place of its storage on.
    pub fn of(tensor: &'a FlexTensor, start: usize, sizes: [usize; 2], stride: usize) -> Self {
        match Halves::of(tensor) {
            None => Self::F32(lines(tensor.storage(), start, sizes, stride)),
            Some(Halves::F16(numbers)) => Self::F16(lines(numbers, start, sizes, stride)),
            Some(Halves::BF16(numbers)) => Self::BF16(lines(numbers, start, sizes, stride)),
        }
    }

    /// The scalar products of each query with all keys, times a scale: `[queries, keys]`.
    pub fn scores(self, queries: Matrix<'_, f32>, keys: usize, scale: f32, scores: &mut [f32]) {
        let put = |query: usize, key: usize, product: f32| {
            scores[query * keys + key] = product * scale;
        };
        match self {
            Self::F32(lines) => products(queries, lines, put),
            Self::F16(lines) => products(queries, lines, put),
            Self::BF16(lines) => products(queries, lines, put),
        }
    }

    /// The sum of all values, each times its probability, for each query.
    pub fn summed(self, probabilities: Matrix<'_, f32>, sums: &mut [f32]) {
        match self {
            Self::F32(lines) => weighted_sums(probabilities, lines, sums),
            Self::F16(lines) => weighted_sums(probabilities, lines, sums),
            Self::BF16(lines) => weighted_sums(probabilities, lines, sums),
        }
    }
}

fn lines<N: Number>(
    numbers: &[N],
    start: usize,
    sizes: [usize; 2],
    stride: usize,
) -> Matrix<'_, N> {
    Matrix::new(&numbers[start.min(numbers.len())..], sizes, stride)
}

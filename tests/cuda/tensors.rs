//! The same tensors on the CUDA backend and on the CPU, and how near their results must be.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use rand::{Rng, SeedableRng};

pub type Cuda = burn_cuda::Cuda;
pub type Cpu = burn_flex::Flex;

/// A tensor of numbers from -0.5 to 0.5, always the same for a seed.
pub fn tensor<B: Backend, const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.random_range(-0.5..0.5)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// The values in float32.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().to_vec().unwrap()
}

/// Asserts `max|a-b| / max|b| <= tolerance`.
pub fn assert_near(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0.0f32, |max, x| if x > max || x.is_nan() { x } else { max });
    let error = worst / largest.max(f32::MIN_POSITIVE);
    assert!(error <= tolerance, "{name}: error {error:e}");
}

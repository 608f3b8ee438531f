//! Random weights for a model that is to be trained from nothing, or to be measured.

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use crate::checkpoint::TensorInfo;
use crate::error::Result;
use crate::float_type::FloatType;

/// Standard deviation of the weights, as in the published training code.
const STANDARD_DEVIATION: f32 = 0.02;
/// Elements that share a stream of random numbers.
const CHUNK: usize = 1 << 20;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialization {
    /// Normal with mean 0.
    Normal,
    /// All ones: the scale of a norm.
    Ones,
    /// All zeros: a bias.
    Zeros,
}

impl Initialization {
    /// How the parameter of a path starts.
    pub fn of(path: &str) -> Self {
        if path.ends_with(".bias") {
            Self::Zeros
        } else if path.ends_with("layernorm.weight") {
            Self::Ones
        } else {
            Self::Normal
        }
    }
}

/// The elements of a tensor, little-endian; equal seeds and names give equal elements, whatever the
/// number of threads.
///
/// # Errors
/// If the type is not one that models are computed in.
pub fn random_weights(
    info: &TensorInfo,
    initialization: Initialization,
    seed: u64,
) -> Result<Vec<u8>> {
    let dtype = FloatType::try_from(info.dtype)?;
    let size = dtype.size();
    let mut bytes = vec![0u8; info.elements() * size];
    let key = seed_of(&info.name, seed);
    bytes
        .par_chunks_mut(CHUNK * size)
        .enumerate()
        .for_each(|(index, chunk)| fill(chunk, dtype, initialization, key, index as u64));
    Ok(bytes)
}

fn fill(chunk: &mut [u8], dtype: FloatType, initialization: Initialization, key: u64, stream: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(key);
    random.set_stream(stream);
    let normal = Normal::new(0.0f32, STANDARD_DEVIATION).ok();
    let mut next = || match initialization {
        Initialization::Normal => normal.map_or(0.0, |normal| normal.sample(&mut random)),
        Initialization::Ones => 1.0,
        Initialization::Zeros => 0.0,
    };
    match dtype {
        FloatType::F16 => {
            let elements = chunk.chunks_exact_mut(2);
            elements.for_each(|out| out.copy_from_slice(&f16::from_f32(next()).to_le_bytes()));
        }
        FloatType::Bf16 => {
            let elements = chunk.chunks_exact_mut(2);
            elements.for_each(|out| out.copy_from_slice(&bf16::from_f32(next()).to_le_bytes()));
        }
        FloatType::F32 => {
            let elements = chunk.chunks_exact_mut(4);
            elements.for_each(|out| out.copy_from_slice(&next().to_le_bytes()));
        }
    }
}

/// Numbers uniform in `±bound`; equal seeds give equal numbers.
pub fn uniform(count: usize, bound: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let numbers = (0..count).map(|_| (random.random::<f32>() * 2.0 - 1.0) * bound);
    numbers.collect()
}

/// Normal numbers with mean 0; equal seeds give equal numbers.
pub fn normal(count: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    match Normal::new(0.0, deviation) {
        Ok(normal) => normal.sample_iter(&mut random).take(count).collect(),
        Err(_) => vec![0.0; count],
    }
}

/// A seed for the parameter of a path.
pub fn seed_of(path: &str, seed: u64) -> u64 {
    seed ^ hash(path)
}

/// FNV-1a: a hash that stays the same from one release of Rust to the next.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::DType;

    fn floats(name: &str, seed: u64) -> Vec<f32> {
        let info = TensorInfo::new(name, DType::F32, [200, 50]);
        let bytes = random_weights(&info, Initialization::of(name), seed).unwrap();
        let chunks = bytes.chunks_exact(4);
        chunks
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    }

    #[test]
    fn weights_are_normal_and_depend_on_name_and_seed() {
        let values = floats("a.weight", 1);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 1e-3, "mean {mean}");
        assert!(
            (variance.sqrt() - 0.02).abs() < 1e-3,
            "deviation {}",
            variance.sqrt()
        );
        assert_eq!(values, floats("a.weight", 1));
        assert_ne!(values, floats("b.weight", 1));
        assert_ne!(values, floats("a.weight", 2));
        assert!(
            floats("x.input_layernorm.weight", 1)
                .iter()
                .all(|&x| x == 1.0)
        );
        assert!(floats("x.bias", 1).iter().all(|&x| x == 0.0));
    }
}

//! Rotary position embedding: the table of angles, made on the host for exactly the positions asked
//! for, and its application.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};

use super::ops::GlmBackend;
use super::ops::heads::{HeadAngles, HeadCut};
use super::ops::primitive::{unwrap, wrap};
use super::ops::rotary::RotaryPairs;
use crate::float_type::FloatType;

/// A type to whose precision values are rounded. The rounding is part of a published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Float32: none.
    Float32,
    /// Half precision.
    Float16,
    /// bfloat16.
    BFloat16,
}

impl Rounding {
    /// The rounding of a compute type.
    pub fn of(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F16 => Self::Float16,
            FloatType::Bf16 => Self::BFloat16,
            FloatType::F32 => Self::Float32,
        }
    }

    /// `value`, rounded.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::Float32 => value,
            Self::Float16 => f16::from_f32(value).to_f32(),
            Self::BFloat16 => bf16::from_f32(value).to_f32(),
        }
    }
}

/// The precision in which the published code computes its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotaryPrecision {
    /// Of positions and angles (and of ChatGLM2's frequencies, step by step).
    pub angles: Rounding,
    /// Of cosines and sines.
    pub table: Rounding,
}

impl RotaryPrecision {
    /// Float32 throughout.
    pub const FLOAT32: Self = Self {
        angles: Rounding::Float32,
        table: Rounding::Float32,
    };
}

/// `1 / base^(2i/dim)` for `i` in `0 … dim/2`, each step rounded as PyTorch rounds it.
pub fn inverse_frequencies(dim: usize, base: f64, rounding: Rounding) -> Vec<f32> {
    (0..dim)
        .step_by(2)
        .map(|i| {
            let exponent = rounding.round(i as f32 / dim as f32);
            let power = base.powf(f64::from(exponent)) as f32;
            rounding.round(1.0 / rounding.round(power))
        })
        .collect()
}

/// Cosines and sines for some positions.
#[derive(Debug, Clone)]
pub struct RotaryTable<B: Backend> {
    /// `[batch or 1, tokens, pairs]`, float32.
    pub cos: Tensor<B, 3>,
    /// `[batch or 1, tokens, pairs]`, float32.
    pub sin: Tensor<B, 3>,
    /// How heads are paired.
    pub pairs: RotaryPairs,
}

impl<B: Backend> RotaryTable<B> {
    /// A table of the given angles (radians), `[rows, tokens, pairs]` in row-major order.
    ///
    /// `precision` rounds the angles and their cosines and sines.
    pub fn new(
        angles: &[f32],
        shape: [usize; 3],
        pairs: RotaryPairs,
        precision: RotaryPrecision,
        device: &B::Device,
    ) -> Self {
        let table = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles
                .iter()
                .map(|&angle| {
                    precision
                        .table
                        .round(function(precision.angles.round(angle)))
                })
                .collect();
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
            pairs,
        }
    }
}

impl<B: GlmBackend> RotaryTable<B> {
    /// Queries, keys and values of a joint projection, the first two turned.
    ///
    /// # Shapes
    /// - `joint`: `[batch, tokens, heads, width]`
    /// - results: `[batch, tokens, heads or groups, head_dim]`
    pub fn heads(&self, joint: Tensor<B, 4>, cut: HeadCut) -> [Tensor<B, 4>; 3] {
        let angles = HeadAngles {
            cos: unwrap(self.cos.clone()),
            sin: unwrap(self.sin.clone()),
            pairs: self.pairs,
        };
        B::glm_heads(unwrap(joint), cut, angles).map(wrap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one() {
        let frequencies = inverse_frequencies(8, 10_000.0, Rounding::Float32);
        assert_eq!(frequencies.len(), 4);
        assert_eq!(frequencies[0], 1.0);
        assert!((frequencies[1] - 0.1).abs() < 1e-7);
        assert!((frequencies[3] - 0.001).abs() < 1e-9);
    }

    #[test]
    fn precision_rounds() {
        assert_eq!(Rounding::Float32.round(0.1), 0.1);
        assert_eq!(Rounding::Float16.round(0.1), 0.099_975_586);
        assert_eq!(Rounding::BFloat16.round(0.1), 0.100_097_656);
    }
}

//! Tensors of files: what is said of one, where its bytes lie, and its elements in memory.

use rayon::prelude::*;

use super::dtype::{Converter, DType};

/// Elements or bytes that are handled at a time.
pub(super) const CHUNK: usize = 1 << 20;

/// What a file says of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, as stored.
    pub name: String,
    /// The element type, as stored.
    pub dtype: DType,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Describes a tensor.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.into(),
        }
    }

    /// Number of elements (the largest number there is, should it overflow).
    pub fn elements(&self) -> usize {
        self.shape
            .iter()
            .fold(1, |count: usize, &dim| count.saturating_mul(dim))
    }

    /// Bytes as stored (the largest number there is, should it overflow).
    pub fn bytes(&self) -> usize {
        self.dtype.bytes_of(&self.shape).unwrap_or(usize::MAX)
    }
}

/// A tensor in memory: little-endian elements in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The element type.
    pub dtype: DType,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, `dtype.size()` bytes each.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// Whether no element is NaN or infinite; integers are finite.
    pub fn is_finite(&self) -> bool {
        // Infinities and NaNs have all bits of the exponent set.
        let halves = |exponent: u16| {
            let (values, _) = self.bytes.as_chunks::<2>();
            values
                .par_iter()
                .with_min_len(CHUNK)
                .all(|bytes| u16::from_le_bytes(*bytes) & exponent != exponent)
        };
        match self.dtype {
            DType::F16 => halves(0x7c00),
            DType::BF16 => halves(0x7f80),
            DType::F32 => {
                let (values, _) = self.bytes.as_chunks::<4>();
                let values = values.par_iter().with_min_len(CHUNK);
                values
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .all(f32::is_finite)
            }
            DType::F64 => {
                let (values, _) = self.bytes.as_chunks::<8>();
                values
                    .iter()
                    .map(|bytes| f64::from_le_bytes(*bytes))
                    .all(f64::is_finite)
            }
            _ => true,
        }
    }

    /// The same floats in another floating type, each rounded once; nothing if one of the types is no
    /// float, or the target f64.
    pub(crate) fn converted(self, target: DType) -> Option<Self> {
        if target == self.dtype {
            return Some(self);
        }
        let mut converter = Converter::new(self.dtype, target)?;
        let mut bytes = reserve(target.bytes_of(&self.shape)?)?;
        for chunk in self.bytes.chunks(CHUNK) {
            converter.append(chunk, &mut bytes);
        }
        Some(Self {
            dtype: target,
            shape: self.shape,
            bytes,
        })
    }
}

/// A tensor and its place in a file. Whoever makes one has checked that its bytes lie inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) info: TensorInfo,
    /// Offset of the first element in the file.
    pub(crate) start: u64,
    /// Steps between neighbours along each dimension, in elements, unless the tensor is row-major.
    pub(crate) strides: Option<Vec<usize>>,
}

/// What a parser found in a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) slots: Vec<Slot>,
    /// Names of values that are not tensors.
    pub(crate) skipped: Vec<String>,
}

/// An empty vector with room for so many bytes; nothing if memory lacks it.
pub(super) fn reserve(len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    Some(bytes)
}

//! Element types of stored tensors, and conversion between the floating ones.

use std::fmt;

use half::{bf16, f16, slice::HalfFloatSliceExt};

/// Element type of a stored tensor. Values are little-endian in every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit float with the exponent of f32.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// Byte.
    U8,
    /// Truth value, one byte each.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Lower-case name as users write it: `f32`, `bf16`, `i64`, `bool`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }

    /// Whether tensors of this type can be read as model weights.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Bytes of a tensor of this type, or nothing where that overflows.
    pub(crate) fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        shape
            .iter()
            .try_fold(self.size(), |bytes, &dim| bytes.checked_mul(dim))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Converts little-endian floats chunk by chunk, through f32, with buffers that live as long as it does.
///
/// Going through f32 is exact but for f64, where it is what PyTorch does too. Values beyond the target's
/// range become infinite.
pub(crate) struct Converter {
    from: DType,
    to: DType,
    floats: Vec<f32>,
    halves: Vec<u16>,
}

impl Converter {
    /// A converter between two floating types; nothing if one is not (or the target is f64).
    pub(crate) fn new(from: DType, to: DType) -> Option<Self> {
        let ok = from.is_float() && to.is_float() && to != DType::F64;
        ok.then(|| Self {
            from,
            to,
            floats: Vec::new(),
            halves: Vec::new(),
        })
    }

    /// Appends the conversion of `source` (a whole number of elements) to `target`.
    pub(crate) fn append(&mut self, source: &[u8], target: &mut Vec<u8>) {
        self.decode(source);
        self.encode(target);
    }

    fn decode(&mut self, source: &[u8]) {
        let count = source.len() / self.from.size();
        self.floats.resize(count, 0.0);
        match self.from {
            DType::F64 => {
                let (values, _) = source.as_chunks::<8>();
                for (float, bytes) in self.floats.iter_mut().zip(values) {
                    *float = f64::from_le_bytes(*bytes) as f32;
                }
            }
            DType::F32 => {
                let (values, _) = source.as_chunks::<4>();
                for (float, bytes) in self.floats.iter_mut().zip(values) {
                    *float = f32::from_le_bytes(*bytes);
                }
            }
            _ => {
                let (values, _) = source.as_chunks::<2>();
                self.halves.clear();
                self.halves
                    .extend(values.iter().map(|bytes| u16::from_le_bytes(*bytes)));
                if self.from == DType::F16 {
                    bytemuck::cast_slice::<u16, f16>(&self.halves)
                        .convert_to_f32_slice(&mut self.floats);
                } else {
                    bytemuck::cast_slice::<u16, bf16>(&self.halves)
                        .convert_to_f32_slice(&mut self.floats);
                }
            }
        }
    }

    fn encode(&mut self, target: &mut Vec<u8>) {
        match self.to {
            DType::F16 => {
                self.halves.resize(self.floats.len(), 0);
                bytemuck::cast_slice_mut::<u16, f16>(&mut self.halves)
                    .convert_from_f32_slice(&self.floats);
                target.extend(self.halves.iter().flat_map(|half| half.to_le_bytes()));
            }
            DType::BF16 => {
                self.halves.resize(self.floats.len(), 0);
                bytemuck::cast_slice_mut::<u16, bf16>(&mut self.halves)
                    .convert_from_f32_slice(&self.floats);
                target.extend(self.halves.iter().flat_map(|half| half.to_le_bytes()));
            }
            _ => target.extend(self.floats.iter().flat_map(|float| float.to_le_bytes())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn convert(from: DType, to: DType, source: &[u8]) -> Vec<u8> {
        let mut target = Vec::new();
        Converter::new(from, to)
            .unwrap()
            .append(source, &mut target);
        target
    }

    #[test]
    fn widening_and_back_is_the_identity() {
        for kind in [DType::F16, DType::BF16] {
            // Every bit pattern but the NaNs, whose payload may change.
            let patterns: Vec<u16> = (0..=u16::MAX)
                .filter(|&bits| match kind {
                    DType::F16 => !f16::from_bits(bits).is_nan(),
                    _ => !bf16::from_bits(bits).is_nan(),
                })
                .collect();
            let bytes: Vec<u8> = patterns
                .iter()
                .flat_map(|bits| bits.to_le_bytes())
                .collect();
            let wide = convert(kind, DType::F32, &bytes);
            assert_eq!(convert(DType::F32, kind, &wide), bytes);
        }
    }

    #[test]
    fn overflow_becomes_infinite() {
        let bytes = convert(DType::F64, DType::F16, &1e6f64.to_le_bytes());
        assert_eq!(f16::from_le_bytes([bytes[0], bytes[1]]), f16::INFINITY);
    }

    #[test]
    fn integers_and_f64_targets_are_refused() {
        assert!(Converter::new(DType::I64, DType::F32).is_none());
        assert!(Converter::new(DType::F32, DType::F64).is_none());
    }
}

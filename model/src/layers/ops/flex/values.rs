//! Between tensors of any storage type and the float32 slices that the kernels work on.

use std::ops::Deref;

use burn::tensor::{Bytes, DType, Shape, TensorMetadata};
use burn_flex::{FlexTensor, Layout};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::Float;
use super::simd::simd;

/// Elements that one task converts.
const CHUNK: usize = 1 << 15;

/// The elements of a tensor as float32 in row-major order: borrowed where they are stored so,
/// converted otherwise.
pub struct Values {
    tensor: FlexTensor,
}

impl Values {
    /// The elements of a tensor.
    pub fn of(tensor: Float) -> Self {
        let tensor = tensor.to_contiguous();
        match tensor.dtype() {
            DType::F32 => Self { tensor },
            _ => Self {
                tensor: from_vec(widen(&tensor), tensor.shape(), DType::F32),
            },
        }
    }

    /// The float32 tensor.
    pub fn into_tensor(self) -> FlexTensor {
        self.tensor
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.tensor.storage::<f32>()
    }
}

/// A slice of 16-bit floats that can be widened.
#[derive(Clone, Copy)]
pub enum Halves<'a> {
    /// IEEE half precision.
    F16(&'a [f16]),
    /// bfloat16.
    BF16(&'a [bf16]),
}

impl<'a> Halves<'a> {
    /// The storage of a contiguous 16-bit tensor; `None` for other types.
    pub fn of(tensor: &'a FlexTensor) -> Option<Self> {
        match tensor.dtype() {
            DType::F16 => Some(Self::F16(tensor.storage())),
            DType::BF16 => Some(Self::BF16(tensor.storage())),
            _ => None,
        }
    }

    /// Elements `from … from + out.len()` as float32.
    pub fn widen_into(self, from: usize, out: &mut [f32]) {
        let to = from + out.len();
        match self {
            Self::F16(values) => values[from..to].convert_to_f32_slice(out),
            Self::BF16(values) => widen_bf16(&values[from..to], out),
        }
    }
}

simd! {
/// bfloat16 is the upper half of a float32.
fn widen_bf16(values: &[bf16], out: &mut [f32]) {
    for (value, out) in values.iter().zip(out) {
        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
    }
}
}

fn widen(tensor: &FlexTensor) -> Vec<f32> {
    let mut out = vec![0.0; tensor.shape().num_elements()];
    match Halves::of(tensor) {
        Some(halves) => out
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(index, chunk)| halves.widen_into(index * CHUNK, chunk)),
        // Float64 is the only other float type.
        None => {
            let values: &[f64] = tensor.storage();
            out.iter_mut()
                .zip(values)
                .for_each(|(out, value)| *out = *value as f32);
        }
    }
    out
}

/// A tensor of these elements in the given float type.
pub fn from_vec(values: Vec<f32>, shape: Shape, dtype: DType) -> FlexTensor {
    let bytes = match dtype {
        DType::F16 => narrow(&values, f16::ZERO, |values, out| {
            out.convert_from_f32_slice(values);
        }),
        DType::BF16 => narrow(&values, bf16::ZERO, |values, out| {
            out.convert_from_f32_slice(values);
        }),
        DType::F64 => Bytes::from_elems(values.into_iter().map(f64::from).collect()),
        _ => Bytes::from_elems(values),
    };
    FlexTensor::new(bytes, Layout::contiguous(shape), dtype)
}

fn narrow<T: Copy + Send + Sync + bytemuck::Pod>(
    values: &[f32],
    zero: T,
    convert: impl Fn(&[f32], &mut [T]) + Sync,
) -> Bytes {
    let mut out = vec![zero; values.len()];
    out.par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(out, values)| convert(values, out));
    Bytes::from_elems(out)
}

/// A pointer that tasks share, each writing elements that no other touches.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: `Shared` is only a pointer; whoever dereferences it in several threads must keep their
// elements apart, which each use states.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// A shared pointer to a slice's elements.
    pub fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The pointer to element `offset`.
    ///
    /// # Safety
    /// `offset` must be within the slice.
    pub unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller keeps the offset within the allocation.
        unsafe { self.0.add(offset) }
    }
}

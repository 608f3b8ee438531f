//! Between tensors of any storage type and the float32 slices that the kernels work on.

use std::mem::MaybeUninit;
use std::ops::Deref;

use burn::tensor::{Bytes, DType, Shape, TensorMetadata};
use burn_flex::{FlexTensor, Layout};
use half::{bf16, f16};
use rayon::prelude::*;

use super::Float;
use super::products::{self, Number};

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
            Self::F16(values) => products::widen(&values[from..to], out),
            Self::BF16(values) => products::widen(&values[from..to], out),
        }
    }
}

fn widen(tensor: &FlexTensor) -> Vec<f32> {
    match Halves::of(tensor) {
        Some(halves) => {
            let elements = tensor.shape().num_elements();
            // SAFETY: widening writes all of a chunk and reads none.
            unsafe {
                filled(elements, CHUNK, |index, chunk| {
                    halves.widen_into(index * CHUNK, assume_written(chunk));
                })
            }
        }
        // Float64 is the only other float type.
        None => {
            let values: &[f64] = tensor.storage();
            values.iter().map(|&value| value as f32).collect()
        }
    }
}

/// Elements that one task of [`filled`] has at least.
const TASK: usize = 1 << 12;

/// Numbers that `fill` writes, a chunk at a time on all threads; it is told which. Nobody clears them before: that would
/// take the time of a write, and of the first touch of each page, on one thread.
///
/// # Safety
/// `fill` must write all elements of each chunk.
pub unsafe fn filled<T: Send>(
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync + Send,
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    let chunk = chunk.max(1);
    out.spare_capacity_mut()[..len]
        .par_chunks_mut(chunk)
        .with_min_len(TASK.div_ceil(chunk))
        .enumerate()
        .for_each(|(index, chunk)| fill(index, chunk));
    // SAFETY: there is room for `len` elements, and by the caller's promise all are written.
    unsafe { out.set_len(len) };
    out
}

/// Numbers that are about to be written as those that were.
///
/// # Safety
/// Each must be written before it is read.
pub unsafe fn assume_written<T: Copy>(numbers: &mut [MaybeUninit<T>]) -> &mut [T] {
    // SAFETY: `MaybeUninit<T>` lies in memory as `T` does, and the caller promises the rest.
    unsafe { &mut *(std::ptr::from_mut(numbers) as *mut [T]) }
}

/// A tensor of these elements in the given float type.
pub fn from_vec(values: Vec<f32>, shape: Shape, dtype: DType) -> FlexTensor {
    let bytes = match dtype {
        DType::F16 => narrow::<f16>(&values),
        DType::BF16 => narrow::<bf16>(&values),
        DType::F64 => Bytes::from_elems(values.into_iter().map(f64::from).collect()),
        _ => Bytes::from_elems(values),
    };
    FlexTensor::new(bytes, Layout::contiguous(shape), dtype)
}

fn narrow<N: Number + bytemuck::Pod>(values: &[f32]) -> Bytes {
    // SAFETY: a conversion writes all of a chunk and reads none of it.
    let out = unsafe {
        filled(values.len(), CHUNK, |index, chunk| {
            products::narrow::<N>(
                &values[index * CHUNK..][..chunk.len()],
                assume_written(chunk),
            );
        })
    };
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

    /// A shared pointer to the room of a vector.
    pub fn room(values: &mut Vec<f32>) -> Self {
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

//! From the tensors of a file to those of a backend.

use std::path::Path;

use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType, Shape, Tensor, TensorData};

use crate::checkpoint::{self, RawTensor};
use crate::error::{Error, Result, WeightFault};
use crate::float_type::FloatType;
use crate::resident::upload;

/// Where the tensors of a file go, and in which type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorTarget<'a, B: Backend> {
    float: FloatType,
    dtype: DType,
    device: &'a B::Device,
}

impl<'a, B: Backend> TensorTarget<'a, B> {
    /// # Errors
    /// If the type is not one of floats.
    pub(crate) fn new(dtype: DType, device: &'a B::Device) -> Result<Self> {
        Ok(Self {
            float: FloatType::try_from(dtype)?,
            dtype,
            device,
        })
    }

    /// The type in which tensors are to be read.
    pub(crate) fn stored_type(&self) -> checkpoint::DType {
        self.float.into()
    }

    /// The tensor `name` of `path`.
    ///
    /// # Errors
    /// If it holds what is not a number.
    pub(crate) fn tensor<const D: usize>(
        &self,
        path: &Path,
        name: &str,
        raw: RawTensor,
    ) -> Result<Tensor<B, D>> {
        let data = to_data(finite(path, name, raw)?)?;
        Ok(upload(data, self.device, self.dtype))
    }
}

/// A tensor of numbers. With a single NaN every loss and every answer would be one.
pub(crate) fn finite(path: &Path, name: &str, raw: RawTensor) -> Result<RawTensor> {
    match raw.is_finite() {
        true => Ok(raw),
        false => Err(Error::Weights {
            path: path.to_path_buf(),
            faults: vec![WeightFault::NotFinite {
                key: name.to_string(),
                dtype: raw.dtype.to_string(),
            }],
        }),
    }
}

/// A tensor as Burn takes it.
pub(crate) fn to_data(raw: RawTensor) -> Result<TensorData> {
    Ok(TensorData {
        dtype: FloatType::try_from(raw.dtype)?.into(),
        bytes: Bytes::from_bytes_vec(raw.bytes),
        shape: Shape::from(raw.shape),
    })
}

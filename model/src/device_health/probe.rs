//! A few computations whose results are known, before a run depends on a device.

use burn::tensor::{DType, Tensor, TensorData};

use super::failure::{Cause, DeviceFailure};
use super::{check, guard, settle};
use crate::error::{Error, Result};
use crate::layers::GlmBackend;

/// Rows and columns of the matrices: more than one tile of any kernel in one direction, less in the other.
const ROWS: usize = 20;
const INNER: usize = 40;
const COLUMNS: usize = 24;

/// Lets a device multiply, transform and add up small whole numbers, in float32 and in the type of the run, and
/// compares what it reads back: drivers, compilers and headers that are missing or broken show here.
///
/// # Errors
/// [`Error::Device`] with what failed and what can be done.
pub fn probe<B: GlmBackend>(device: &B::Device, dtype: DType) -> Result<()> {
    let result = guard(|| {
        for dtype in types(dtype) {
            computes::<B>(device, dtype)?;
        }
        settle::<B>(std::slice::from_ref(device))
    });
    // What a failed device gives is wrong as well; the failure says why.
    check()?;
    result
}

fn types(dtype: DType) -> impl Iterator<Item = DType> {
    let other = (dtype != DType::F32).then_some(dtype);
    std::iter::once(DType::F32).chain(other)
}

fn computes<B: GlmBackend>(device: &B::Device, dtype: DType) -> Result<()> {
    // Small enough that every sum is exact in every type.
    let left: Vec<f32> = (0..ROWS * INNER).map(|i| (i % 3) as f32 - 1.0).collect();
    let right: Vec<f32> = (0..INNER * COLUMNS).map(|i| (i % 5) as f32 - 2.0).collect();
    let matrix = |values: &[f32], shape: [usize; 2]| {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::<B, 2>::from_data(data.convert_dtype(dtype), (device, dtype))
    };
    let product = matrix(&left, [ROWS, INNER]).matmul(matrix(&right, [INNER, COLUMNS]));
    let expected = multiplied(&left, &right);
    compare("a matrix product", dtype, product.clone(), &expected)?;

    let shifted = product.clone().mul_scalar(2.0).add_scalar(1.0);
    let doubled: Vec<f32> = expected.iter().map(|x| 2.0 * x + 1.0).collect();
    compare("arithmetic", dtype, shifted, &doubled)?;

    let sums = product.cast(DType::F32).sum_dim(1);
    let expected: Vec<f32> = expected
        .chunks(COLUMNS)
        .map(|row| row.iter().sum())
        .collect();
    compare("a sum", dtype, sums, &expected)
}

fn multiplied(left: &[f32], right: &[f32]) -> Vec<f32> {
    let element = |index: usize| {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let products = (0..INNER).map(|k| left[row * INNER + k] * right[k * COLUMNS + column]);
        products.sum()
    };
    (0..ROWS * COLUMNS).map(element).collect()
}

fn compare<B: GlmBackend>(
    what: &str,
    dtype: DType,
    found: Tensor<B, 2>,
    expected: &[f32],
) -> Result<()> {
    let unreadable = |error: String| Error::Device(DeviceFailure::of(&error));
    let found = found.try_into_data();
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    let found: Vec<f32> = found
        .convert::<f32>()
        .to_vec()
        .map_err(|error| unreadable(format!("{error:?}")))?;
    if found == expected {
        return Ok(());
    }
    let wrong = found.iter().zip(expected).find(|(a, b)| a != b);
    let (found, right) = wrong.unwrap_or((&f32::NAN, &f32::NAN));
    Err(Error::Device(DeviceFailure {
        cause: Cause::WrongResult,
        words: format!("{what} in {dtype:?} gave {found} where {right} is right"),
    }))
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    #[test]
    fn a_device_that_works_passes() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            probe::<Flex>(&FlexDevice, dtype).unwrap();
        }
    }

    #[test]
    fn a_wrong_result_is_named() {
        let found = Tensor::<Flex, 2>::from_floats([[1.0, 2.0]], &FlexDevice);
        let error = compare("a sum", DType::F32, found, &[1.0, 3.0]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("a sum in F32 gave 2 where 3 is right"),
            "{said}"
        );
    }
}

//! A cache that is written where it lies: the backend's own assignment of a slice copies the whole buffer, and
//! with it every token so far at every step.

use burn_flex::Flex;

use super::CacheOps;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::write::write_along;

impl CacheOps for Flex {
    fn glm_cache_write(buffer: Float, new: Float, start: usize) -> Float {
        write(buffer, new, start)
    }
}

/// See [`CacheOps::glm_cache_write`](super::CacheOps::glm_cache_write).
pub fn write(buffer: Float, new: Float, start: usize) -> Float {
    write_along(buffer, new, 1, start)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{DType, Tensor, TensorPrimitive, s};

    use super::*;

    type Tensor4 = Tensor<Flex, 4>;

    fn tensor(primitive: Float) -> Tensor4 {
        Tensor4::from_primitive(TensorPrimitive::Float(primitive))
    }

    fn primitive(tensor: Tensor4) -> Float {
        tensor.into_primitive().tensor()
    }

    fn values(shape: [usize; 4], dtype: DType) -> Tensor4 {
        let elements: usize = shape.iter().product();
        Tensor::<Flex, 1, burn::tensor::Int>::arange(0..elements as i64, &Default::default())
            .float()
            .reshape(shape)
            .cast(dtype)
    }

    #[test]
    fn as_the_default_and_in_place() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let buffer = values([2, 6, 2, 3], dtype);
            // As it comes out of a joint projection.
            let new = values([2, 2, 5, 3], dtype).slice(s![.., .., 1..3, ..]);
            let expected = buffer.clone().slice_assign(s![.., 3..5], new.clone());
            let held = buffer.clone();
            let found = write(primitive(buffer), primitive(new.clone()), 3);
            assert_eq!(tensor(found.clone()).into_data(), expected.into_data());
            let before = values([2, 6, 2, 3], dtype).into_data();
            assert_eq!(held.into_data(), before, "another holder's is its own");
            let address = |found: &Float| found.bytes().as_ptr();
            let before = address(&found);
            let found = write(found, primitive(new), 0);
            assert_eq!(address(&found), before, "{dtype:?}: copied");
        }
    }
}

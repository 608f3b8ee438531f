//! A cache that Burn's assignment of a slice fills; GPUs do so in place.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::s;

use crate::layers::ops::primitive::{unwrap, wrap};

/// See [`CacheOps::glm_cache_write`](super::CacheOps::glm_cache_write).
pub fn write<B: Backend>(
    buffer: FloatTensor<B>,
    new: FloatTensor<B>,
    start: usize,
) -> FloatTensor<B> {
    let new = wrap::<B, 4>(new);
    let end = start + new.dims()[1];
    unwrap(wrap::<B, 4>(buffer).slice_assign(s![.., start..end], new))
}

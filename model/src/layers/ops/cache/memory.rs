//! What the cache holds: it is written where it lies, and no training has one.

use crate::memory::{Operation, Trace, Traced};

/// A call of [`glm_cache_write`](super::CacheOps::glm_cache_write).
pub fn cache_write(trace: &Trace, buffer: Traced, new: Traced) -> Traced {
    let (elements, size, bytes) = (buffer.elements(), buffer.size(), buffer.bytes());
    let operation = Operation {
        output: bytes,
        work: bytes,
        in_place: Some(0),
        ..Operation::default()
    };
    trace.call(vec![buffer, new], (elements, size), operation)
}

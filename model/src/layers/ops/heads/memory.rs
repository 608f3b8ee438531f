//! What heads hold: what the parts and the turning of two of them do, call by call. GPUs, whose kernel writes the
//! gradient of the whole at once, hold less.

use crate::layers::ops::parts::memory::parts;
use crate::layers::ops::rotary::memory::rotary;
use crate::memory::{Trace, Traced};

/// A call of [`glm_heads`](super::HeadsOps::glm_heads), for queries, keys and values of so many elements.
pub fn heads(trace: &Trace, joint: Traced, elements: [u64; 3]) -> [Traced; 3] {
    let [query, key, value] = parts(trace, joint, elements);
    let query = rotary(trace, query);
    [query, rotary(trace, key), value]
}

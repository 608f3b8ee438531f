//! What the segments share in a pass whose memory is counted, beside `SharedInputs`.

use crate::layers::memory::AttentionSizes;
use crate::memory::{Trace, Traced, TracedModules, cat};

/// A micro-batch on its way through a model that need not be there.
#[derive(Debug)]
pub struct TracedPass<'a> {
    /// The modules.
    pub modules: &'a TracedModules<'a>,
    /// Rows of the batch.
    pub batch: u64,
    /// Tokens of a row.
    pub length: u64,
    /// Tokens of all rows that have a target.
    pub targets: u64,
    /// Positions before the tokens of each row.
    pub prefix: u64,
    /// Whether those are trained.
    pub trains_prefix: bool,
}

impl TracedPass<'_> {
    /// Tokens of all rows.
    pub fn tokens(&self) -> u64 {
        self.batch * self.length
    }

    /// The sizes of an attention over the tokens and what is before them.
    pub fn attention(&self, heads: usize, groups: usize) -> AttentionSizes {
        AttentionSizes {
            batch: self.batch,
            queries: self.length,
            keys: self.prefix + self.length,
            heads: heads as u64,
            groups: groups as u64,
        }
    }

    /// As `SharedInputs::extend`, without a cache.
    pub fn extend(&self, trace: &Trace, key: Traced, value: Traced) -> (Traced, Traced) {
        if self.prefix == 0 {
            return (key, value);
        }
        let before = |of: &Traced| {
            let elements = of.elements() / self.length.max(1) * self.prefix;
            trace.elsewhere(elements, self.trains_prefix)
        };
        let (prefix_key, prefix_value) = (before(&key), before(&value));
        (cat(trace, prefix_key, key), cat(trace, prefix_value, value))
    }
}

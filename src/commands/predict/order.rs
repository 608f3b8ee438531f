//! Things that come in any order, given in theirs.

use std::collections::BTreeMap;

/// Holds what comes early until everything before it has come.
#[derive(Debug)]
pub struct InOrder<T> {
    /// Number of the next one.
    next: usize,
    held: BTreeMap<usize, T>,
}

impl<T> InOrder<T> {
    /// The first one that is wanted has this number.
    pub fn from(next: usize) -> Self {
        Self {
            next,
            held: BTreeMap::new(),
        }
    }

    /// Takes one and gives those that can go now, in their order.
    pub fn push(&mut self, number: usize, item: T) -> Vec<T> {
        self.held.insert(number, item);
        let mut ready = Vec::new();
        while let Some(item) = self.held.remove(&self.next) {
            ready.push(item);
            self.next += 1;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_order_of_arrival(
            arrivals in Just((3usize..40).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut order = InOrder::from(3);
            let mut given = Vec::new();
            for number in arrivals {
                given.extend(order.push(number, number));
                // Nothing waits that could go.
                prop_assert!(!order.held.contains_key(&(given.len() + 3)));
            }
            prop_assert!(given.into_iter().eq(3..40));
        }
    }
}

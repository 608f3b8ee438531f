//! A read-only byte trie, laid out in two flat arrays: children of a node are neighbours.

use std::collections::VecDeque;

const NO_VALUE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    first_child: u32,
    children: u16,
    value: u32,
}

/// Byte strings, each with a number.
#[derive(Debug, Clone)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to the node of the same index.
    labels: Vec<u8>,
    /// The root's children by byte, since every walk starts there; 0 where there is none.
    root: Box<[u32; 256]>,
}

impl Trie {
    pub(super) const ROOT: u32 = 0;

    /// Of equal keys the first in `entries` wins; empty keys are left out.
    pub(super) fn new<'a>(entries: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let mut entries: Vec<_> = entries
            .into_iter()
            .filter(|(key, _)| !key.is_empty())
            .collect();
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by_key(|(key, _)| *key);
        let mut trie = Self {
            nodes: vec![Node {
                first_child: 0,
                children: 0,
                value: NO_VALUE,
            }],
            labels: vec![0],
            root: Box::new([0; 256]),
        };
        let mut open = VecDeque::from([(0_usize, 0..entries.len(), 0_usize)]);
        while let Some((node, range, depth)) = open.pop_front() {
            trie.nodes[node].first_child = trie.nodes.len() as u32;
            let mut start = range.start;
            while start < range.end {
                let label = entries[start].0[depth];
                let same =
                    entries[start..range.end].partition_point(|(key, _)| key[depth] == label);
                let child = trie.nodes.len();
                let ends_here = entries[start].0.len() == depth + 1;
                let value = if ends_here {
                    entries[start].1
                } else {
                    NO_VALUE
                };
                trie.nodes.push(Node {
                    first_child: 0,
                    children: 0,
                    value,
                });
                trie.labels.push(label);
                trie.nodes[node].children += 1;
                let rest = start + usize::from(ends_here)..start + same;
                if !rest.is_empty() {
                    open.push_back((child, rest, depth + 1));
                }
                start += same;
            }
        }
        let root = trie.nodes[0];
        for child in root.first_child..root.first_child + u32::from(root.children) {
            trie.root[usize::from(trie.labels[child as usize])] = child;
        }
        trie
    }

    /// The node that `byte` leads to from `node`.
    #[inline]
    pub(super) fn step(&self, node: u32, byte: u8) -> Option<u32> {
        if node == Self::ROOT {
            let child = self.root[usize::from(byte)];
            return (child != 0).then_some(child);
        }
        let Node {
            first_child,
            children,
            ..
        } = self.nodes[node as usize];
        let first = first_child as usize;
        let labels = &self.labels[first..first + usize::from(children)];
        labels
            .binary_search(&byte)
            .ok()
            .map(|at| (first + at) as u32)
    }

    /// The number of the string that ends at `node`.
    #[inline]
    pub(super) fn value(&self, node: u32) -> Option<u32> {
        let value = self.nodes[node as usize].value;
        (value != NO_VALUE).then_some(value)
    }

    /// Length and number of the longest string that `text` begins with.
    pub(super) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut node = Self::ROOT;
        let mut longest = None;
        for (at, &byte) in text.iter().enumerate() {
            let Some(next) = self.step(node, byte) else {
                break;
            };
            node = next;
            if let Some(value) = self.value(node) {
                longest = Some((at + 1, value));
            }
        }
        longest
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_prefix() {
        let keys: [&[u8]; 5] = [b"ab", b"a", b"abcd", b"", b"\xff"];
        let trie = Trie::new(keys.into_iter().zip(0..));
        assert_eq!(trie.longest_prefix(b"abcx"), Some((2, 0)));
        assert_eq!(trie.longest_prefix(b"abcd"), Some((4, 2)));
        assert_eq!(trie.longest_prefix(b"ax"), Some((1, 1)));
        assert_eq!(trie.longest_prefix(b"\xff"), Some((1, 4)));
        assert_eq!(trie.longest_prefix(b"b"), None);
        assert!(Trie::new([]).is_empty());
    }
}

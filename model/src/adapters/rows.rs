//! Adapters by rows: where several are served, each acts on the rows of its own sequences.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Adapter;
use crate::layers::GlmBackend;

/// Which adapter acts on which rows of a pass, by its number among those that are served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowAdapters {
    /// Ranges of rows one after the other, all rows of the pass; none for the base.
    spans: Vec<(Range<usize>, Option<usize>)>,
}

impl RowAdapters {
    /// The adapter of each row.
    pub fn new(rows: impl IntoIterator<Item = Option<usize>>) -> Self {
        let mut spans: Vec<(Range<usize>, Option<usize>)> = Vec::new();
        for (row, adapter) in rows.into_iter().enumerate() {
            match spans.last_mut() {
                Some((range, last)) if *last == adapter => range.end = row + 1,
                _ => spans.push((row..row + 1, adapter)),
            }
        }
        Self { spans }
    }

    /// Whether any row has an adapter.
    pub fn any(&self) -> bool {
        self.spans.iter().any(|(_, adapter)| adapter.is_some())
    }

    /// The outputs of a layer with the adapters of their rows, by what it gives without them.
    ///
    /// # Shapes
    /// - `input`: `[rows, in]`; `output` and result: `[rows, out]`
    pub(crate) fn add<B: GlmBackend>(
        &self,
        served: &[Option<Adapter<B>>],
        input: Tensor<B, 2>,
        output: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let acts = |(_, number): &(Range<usize>, Option<usize>)| of(served, *number).is_some();
        if !self.spans.iter().any(acts) {
            return output;
        }
        let mut parts = Vec::with_capacity(self.spans.len());
        for (range, number) in &self.spans {
            let part = output.clone().narrow(0, range.start, range.len());
            parts.push(match of(served, *number) {
                Some(adapter) => {
                    adapter.add_to(input.clone().narrow(0, range.start, range.len()), part)
                }
                None => part,
            });
        }
        match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 0),
        }
    }
}

fn of<B: Backend>(served: &[Option<Adapter<B>>], number: Option<usize>) -> Option<&Adapter<B>> {
    served.get(number?)?.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_adapter_are_one_span() {
        let rows = RowAdapters::new([None, None, Some(1), Some(1), Some(0)]);
        assert_eq!(rows.spans, [(0..2, None), (2..4, Some(1)), (4..5, Some(0))]);
        assert!(rows.any());
        assert!(!RowAdapters::new([None]).any());
    }
}

//! What a prefix does in a pass whose memory is counted: the `forward` of `encoder.rs`, call by call.

use burn::tensor::DType;

use super::encoder::PrefixShape;
use crate::layers::memory::{dropout, linear};
use crate::memory::{Trace, Traced, expand, tanh, to_type};

/// Keys and values of all layers for so many rows, in one tensor.
pub(super) fn forward(shape: &PrefixShape, drops: bool, trace: &Trace, rows: u64) -> Traced {
    let positions = shape.pre_seq_len as u64;
    let parameter = |elements: u64| trace.parameter(elements, true);
    let embedding = |width: usize| parameter(positions * width as u64);
    let (hidden, outer) = (shape.hidden as u64, shape.kv_width() as u64);
    let prefix = match shape.projection {
        false => embedding(shape.kv_width()),
        true => {
            let embedded = embedding(shape.embedding_width);
            // In the type of its weights.
            let trained = match embedded.size() {
                4 => trace.of_type(DType::F32),
                _ => trace.of_type(trace.compute().dtype),
            };
            let layer = |x: Traced, input: u64, output: u64| {
                let (weight, bias) = (parameter(input * output), parameter(output));
                linear(&trained, positions, x, weight, Some(bias))
            };
            let inner = layer(embedded, shape.embedding_width as u64, hidden);
            layer(tanh(trace, inner), hidden, outer)
        }
    };
    let prefix = to_type(trace, prefix);
    match drops {
        true => {
            let elements = rows * prefix.elements();
            dropout(trace, expand(trace, prefix, elements))
        }
        false => prefix,
    }
}

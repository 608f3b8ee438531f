//! What attention holds: its backward pass keeps the operands, the result and the logarithms of the sums, but no
//! scores.

use super::sizes::BLOCK;
use crate::memory::{Compute, Copied, Gradient, Kept, Operation, Stage, Trace, Traced};

/// The sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSizes {
    /// Rows of the batch.
    pub batch: u64,
    /// Queries of a row.
    pub queries: u64,
    /// Keys of a row.
    pub keys: u64,
    /// Heads of the queries.
    pub heads: u64,
    /// Heads of keys and values.
    pub groups: u64,
}

/// A call of [`glm_attention`](super::AttentionOps::glm_attention).
pub fn attention(trace: &Trace, sizes: AttentionSizes, [query, key, value]: [Traced; 3]) -> Traced {
    let compute = trace.compute();
    let elements = query.elements();
    let lines = key.elements().saturating_add(value.elements());
    let output = compute.bytes(elements);
    // Float32, whatever the type.
    let sums = 4 * sizes.batch * sizes.heads * sizes.queries;
    let queries_read = compute.read(elements, query.is_view());
    let operation = Operation {
        output,
        work: queries_read
            + compute.widened(lines + elements)
            + sums
            + output
            + scores(compute, sizes.batch * sizes.heads * blocks(sizes), sizes),
        kept: Kept {
            inputs: vec![0, 1, 2],
            output: true,
            own: vec![sums],
        },
        backward: vec![backward(compute, sizes, [&query, &key, &value])],
        ..Operation::default()
    };
    trace.call(
        vec![query, key, value],
        (elements, compute.size()),
        operation,
    )
}

fn backward(compute: &Compute, sizes: AttentionSizes, operands: [&Traced; 3]) -> Stage {
    let elements = operands.map(Traced::elements);
    let [query, key, value] = elements;
    let gradients = elements.map(|elements| compute.bytes(elements));
    let copies = operands.map(|operand| compute.read(operand.elements(), operand.is_view()));
    // Result and gradient of the result.
    let read = copies.iter().sum::<u64>() + compute.widened(2 * query);
    let sums = compute.widened(query + key + value);
    // All heads of a group add to the same gradients: a task has a group.
    let scores = 2 * scores(compute, sizes.batch * sizes.groups, sizes);
    let gradient = gradients.iter().sum::<u64>();
    Stage {
        gradients: (0..3)
            .map(|place| (place, Gradient::New(gradients[place])))
            .collect(),
        work: match compute.widens() {
            // They are rounded one after the other when all scores are gone.
            true => read + sums + scores.max(gradients[0]),
            false => read + gradient + scores,
        },
        copied: compute.copied(vec![Copied::Gradient, Copied::Output]),
        releases: vec![0, 1, 2],
    }
}

/// Blocks of queries of a head.
fn blocks(sizes: AttentionSizes) -> u64 {
    sizes.queries.div_ceil(BLOCK as u64)
}

/// Scores of the blocks that the threads work on at a time, one of each of so many tasks.
fn scores(compute: &Compute, tasks: u64, sizes: AttentionSizes) -> u64 {
    let rows = sizes.queries.min(BLOCK as u64);
    compute.scratch(tasks, 4 * rows * sizes.keys)
}

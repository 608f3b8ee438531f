//! What parts hold: their backward pass makes the gradient of the whole once.

use crate::memory::{Gradient, Kernels, Stage, Trace, Traced};

/// A call of [`glm_parts`](super::PartsOps::glm_parts), for parts of so many elements.
pub fn parts<const N: usize>(trace: &Trace, x: Traced, elements: [u64; N]) -> [Traced; N] {
    let (whole, all) = (x.bytes(), x.elements());
    let joint = Stage {
        gradients: vec![(0, Gradient::Same)],
        ..Stage::default()
    };
    let joint = trace.view(x, all, vec![joint]);
    elements.map(|elements| {
        let backward = Stage {
            gradients: vec![(0, Gradient::Part(whole))],
            // The CPU's zeros are aligned by a copy.
            work: whole.saturating_mul(match trace.compute().kernels {
                Kernels::Cpu { .. } => 2,
                Kernels::Gpu => 1,
            }),
            ..Stage::default()
        };
        trace.view(joint.clone(), elements, vec![backward])
    })
}

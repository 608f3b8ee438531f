//! What a linear layer holds: the input is kept where the weight is trained, the weight where the input is
//! tracked.

use burn::tensor::DType;

use super::pairs;
use super::panel::{
    DIRECT_ROWS, LINES, OUTPUTS, SOME_ROWS, THIN, backward_panel, forward_panel, sum_panel,
};
use super::tiles;
use crate::memory::{Compute, Copied, Gradient, Kept, Kernels, Operation, Stage, Trace, Traced};

/// The sizes of a product.
#[derive(Debug, Clone, Copy)]
pub(in crate::layers::ops) struct Product {
    pub rows: u64,
    pub input: u64,
    pub output: u64,
}

/// A call of [`glm_linear`](super::LinearOps::glm_linear) on an input of some rows.
pub fn linear(trace: &Trace, rows: u64, x: Traced, weight: Traced, bias: Option<Traced>) -> Traced {
    let input = x.elements() / rows.max(1);
    let product = Product {
        rows,
        input,
        output: weight.elements() / input.max(1),
    };
    let compute = trace.compute();
    let bias_bytes = bias.as_ref().map(Traced::bytes);
    let mut kept = Kept::default();
    if weight.is_tracked() {
        kept.inputs.push(0);
    }
    if x.is_tracked() {
        kept.inputs.push(1);
    }
    let of_bias = bias_bytes.map(|bytes| Stage {
        gradients: vec![(2, Gradient::New(bytes))],
        work: bytes,
        ..Stage::default()
    });
    let of_weight = Stage {
        gradients: vec![(1, Gradient::New(compute.bytes(product.output * input)))],
        work: product.weight_work(compute),
        releases: vec![0],
        ..Stage::default()
    };
    let of_input = Stage {
        gradients: vec![(0, Gradient::New(compute.bytes(rows * input)))],
        work: product.input_work(compute),
        copied: product.input_copies(compute),
        releases: vec![1],
    };
    let backward = of_bias.into_iter().chain([of_weight, of_input]);
    let output = compute.bytes(rows * product.output);
    let operation = Operation {
        output,
        work: product.forward_work(compute),
        kept,
        backward: backward.collect(),
        ..Operation::default()
    };
    let inputs = [x, weight].into_iter().chain(bias).collect();
    trace.call(inputs, (rows * product.output, compute.size()), operation)
}

/// What the threads pack of the second factor of a product, `[rows, depth, columns]`, if it is computed so.
fn packed(compute: &Compute, sizes: [u64; 3]) -> Option<u64> {
    let Kernels::Cpu { threads } = compute.kernels else {
        return None;
    };
    let [_, depth, columns] = sizes;
    if compute.dtype == DType::BF16 && pairs::suits(depth as usize) {
        let tasks = columns.div_ceil(pairs::COLUMNS as u64);
        return Some(compute.scratch(tasks, pairs::packed_bytes(depth)));
    }
    tiles::is_here().then(|| {
        let (tasks, bytes) = tiles::scratch(sizes, compute.size(), threads);
        compute.scratch(tasks, bytes)
    })
}

impl Product {
    /// The most that the product holds beside its factors.
    pub fn forward_work(&self, compute: &Compute) -> u64 {
        let (x, out) = (self.rows * self.input, self.rows * self.output);
        let output = compute.bytes(out);
        if self.rows <= SOME_ROWS as u64 {
            let lines = match self.rows <= DIRECT_ROWS as u64 {
                true => 0,
                false => self.widened_lines(compute),
            };
            return match compute.widens() {
                true => compute.widened(x + out) + lines.max(output),
                false => output,
            };
        }
        if let Some(packed) = packed(compute, [self.rows, self.input, self.output]) {
            return output + packed;
        }
        if !compute.widens() {
            return output;
        }
        let height = forward_panel(self.input as usize, self.output as usize) as u64;
        let tasks = self.output.div_ceil(height.max(1));
        let panels = compute.scratch(tasks, 4 * height * self.input);
        compute.widened(x + out) + panels.max(output)
    }

    /// The lines that each thread widens in the product of some rows; nothing on a GPU.
    fn widened_lines(&self, compute: &Compute) -> u64 {
        let widened = compute.widened(LINES as u64 * self.input);
        compute.scratch(self.output.div_ceil(OUTPUTS as u64), widened)
    }

    /// The most that `grad · weight` holds beside its factors: a panel of the weight is widened at a time.
    pub fn input_work(&self, compute: &Compute) -> u64 {
        let (x, out) = (self.rows * self.input, self.rows * self.output);
        let gradient = compute.bytes(x);
        if let Some(packed) = packed(compute, [self.rows, self.output, self.input]) {
            return gradient + packed;
        }
        if !compute.widens() {
            return gradient;
        }
        let height = backward_panel(self.input as usize, self.output as usize) as u64;
        compute.widened(out + x) + gradient.max(4 * height * self.input)
    }

    /// What `grad · weight` has copies of.
    pub fn input_copies(&self, compute: &Compute) -> Vec<Copied> {
        match packed(compute, [self.rows, self.output, self.input]) {
            Some(_) => Vec::new(),
            None => compute.copied(vec![Copied::Gradient]),
        }
    }

    /// The most that `gradᵀ · x` holds beside its factors.
    pub fn weight_work(&self, compute: &Compute) -> u64 {
        let weight = self.output * self.input;
        let gradient = compute.bytes(weight);
        let factors = match self.input <= THIN as u64 {
            true => self.widened_factors(compute),
            false => self.sum_work(compute),
        };
        match compute.widens() {
            true => compute.widened(weight) + factors.max(gradient),
            false => gradient + factors,
        }
    }

    /// What is held while `gradᵀ · x` is added to a sum: nothing where both factors are widened as they are packed.
    pub fn sum_work(&self, compute: &Compute) -> u64 {
        match tiles::is_here() {
            true => 0,
            false => self.widened_factors(compute) + self.panels(compute),
        }
    }

    fn widened_factors(&self, compute: &Compute) -> u64 {
        match tiles::is_here() {
            true => 0,
            false => compute.widened(self.rows * (self.input + self.output)),
        }
    }

    /// What the threads hold that sum `gradᵀ · x` otherwise: the gradient of a panel of outputs each, as the product
    /// packs it.
    fn panels(&self, compute: &Compute) -> u64 {
        let height = sum_panel(self.rows as usize, self.output as usize) as u64;
        compute.scratch(self.output.div_ceil(height.max(1)), 4 * height * self.rows)
    }
}

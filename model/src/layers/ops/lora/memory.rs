//! What a linear layer with LoRA holds: the input is kept once, as it is, and dropped from again.

use crate::layers::ops::linear::memory::Product;
use crate::memory::{Compute, Copied, Gradient, Kept, Kernels, Operation, Stage, Trace, Traced};

/// What a layer is given where only memory is counted.
#[derive(Debug, Clone)]
pub struct TracedLora {
    /// Rows of the input.
    pub rows: u64,
    /// The input.
    pub x: Traced,
    /// The weight, in the compute type.
    pub weight: Traced,
    /// The bias, in the compute type.
    pub bias: Option<Traced>,
    /// A and B.
    pub factors: [Traced; 2],
    /// Whether elements of the factors' input are dropped.
    pub drops: bool,
}

/// The products of a layer, and what stands between them.
struct Sizes<'a> {
    compute: &'a Compute,
    base: Product,
    /// To the rank.
    down: Product,
    /// From the rank.
    up: Product,
    /// Bytes of the factors in the compute type, where they have another.
    casts: u64,
    /// Whether elements of the factors' input are dropped.
    drops: bool,
}

/// A call of [`glm_lora`](super::LoraOps::glm_lora).
pub fn lora(trace: &Trace, layer: TracedLora) -> Traced {
    let sizes = Sizes::of(trace.compute(), &layer);
    let TracedLora {
        x,
        weight,
        bias,
        factors: [a, b],
        ..
    } = layer;
    let mut kept = Kept {
        inputs: vec![2, 3],
        ..Kept::default()
    };
    if a.is_tracked() || weight.is_tracked() {
        kept.inputs.push(0);
    }
    if x.is_tracked() {
        kept.inputs.push(1);
    }
    if b.is_tracked() {
        kept.own.push(sizes.low());
    }
    let of_bias = bias.as_ref().map(|bias| Stage {
        gradients: vec![(4, Gradient::New(bias.bytes()))],
        work: bias.bytes(),
        ..Stage::default()
    });
    let of_weight = Stage {
        gradients: vec![(1, Gradient::New(weight.bytes()))],
        work: sizes.base.weight_work(sizes.compute),
        ..Stage::default()
    };
    let of_factors = [
        sizes.gradient_of_b(b.bytes()),
        sizes.gradient_of_a(a.bytes()),
    ];
    let last = sizes.gradient_of_x();
    let backward = of_bias.into_iter().chain([of_weight]).chain(of_factors);
    let operation = Operation {
        output: sizes.output(),
        work: sizes.forward_work(),
        kept,
        backward: backward.chain([last]).collect(),
        ..Operation::default()
    };
    let (elements, size) = (sizes.base.rows * sizes.base.output, sizes.compute.size());
    let inputs = [x, weight, a, b].into_iter().chain(bias).collect();
    trace.call(inputs, (elements, size), operation)
}

impl<'a> Sizes<'a> {
    fn of(compute: &'a Compute, layer: &TracedLora) -> Self {
        let rows = layer.rows;
        let input = layer.x.elements() / rows.max(1);
        let rank = layer.factors[0].elements() / input.max(1);
        let output = layer.weight.elements() / input.max(1);
        let product = |input, output| Product {
            rows,
            input,
            output,
        };
        let casts = layer.factors.iter().map(|factor| match factor.size() {
            size if size == compute.size() => 0,
            _ => compute.bytes(factor.elements()),
        });
        Self {
            compute,
            base: product(input, output),
            down: product(input, rank),
            up: product(rank, output),
            casts: casts.sum(),
            drops: layer.drops,
        }
    }

    fn output(&self) -> u64 {
        self.compute.bytes(self.base.rows * self.base.output)
    }

    /// What lies between the factors.
    fn low(&self) -> u64 {
        self.compute.bytes(self.up.rows * self.up.input)
    }

    /// The input without what was dropped.
    fn dropped(&self) -> u64 {
        let elements = self.base.rows * self.base.input;
        if self.drops {
            self.compute.bytes(elements)
        } else {
            0
        }
    }

    /// The most while it is made of a tensor, itself included.
    fn dropping(&self) -> u64 {
        let elements = self.base.rows * self.base.input;
        match self.drops {
            true => self.dropped() + self.compute.widened(2 * elements),
            false => 0,
        }
    }

    fn forward_work(&self) -> u64 {
        let compute = self.compute;
        let down = self.dropped() + self.down.forward_work(compute);
        let base = self.low() + self.base.forward_work(compute);
        let up = self.low() + self.output() + self.up.forward_work(compute);
        self.casts + self.dropping().max(down).max(base).max(up)
    }

    fn gradient_of_b(&self, bytes: u64) -> Stage {
        Stage {
            gradients: vec![(3, Gradient::New(bytes))],
            work: self.casts + self.up.weight_work(self.compute).max(bytes),
            ..Stage::default()
        }
    }

    fn gradient_of_a(&self, bytes: u64) -> Stage {
        let compute = self.compute;
        let low = self.up.input_work(compute);
        let product = self.dropped() + self.down.weight_work(compute).max(bytes);
        Stage {
            gradients: vec![(2, Gradient::New(bytes))],
            work: self.casts + low.max(self.low() + self.dropping().max(product)),
            // Dropped from in a widened copy.
            copied: match self.drops {
                true => compute.copied(vec![Copied::Input(0)]),
                false => Vec::new(),
            },
            releases: vec![0],
        }
    }

    fn gradient_of_x(&self) -> Stage {
        let compute = self.compute;
        let gradient = compute.bytes(self.base.rows * self.base.input);
        // What it drops from is gone where that was widened.
        let dropped = match compute.widens() && self.drops {
            true => self.dropping(),
            false => gradient + self.dropping(),
        };
        let delta = gradient + self.down.input_work(compute).max(dropped);
        let mut base = self.base.input_work(compute);
        let mut copied = self.base.input_copies(compute);
        if copied.is_empty() && compute.kernels != Kernels::Gpu {
            // The gradient that came goes with the first product.
            base += self.output();
            copied.push(Copied::Gradient);
        }
        Stage {
            gradients: vec![(0, Gradient::New(gradient))],
            work: self.casts + self.low() + base.max(delta),
            copied,
            releases: vec![1],
        }
    }
}

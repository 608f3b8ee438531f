//! A linear layer that may carry an adapter.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::ops::GlmBackend;
use super::uninitialized;
use crate::adapters::{Adapter, HeadOperands, LinearCall, RowAdapters};

/// What a pass says to a linear layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearContext<'a> {
    /// In training, what the masks of the adapter's dropout are computed from.
    pub dropout_seed: Option<u64>,
    /// Where several adapters are served: which of them acts on which row.
    pub adapters: Option<&'a RowAdapters>,
}

/// `x·Wᵀ + b`, or what its adapter makes of it.
///
/// The base weight keeps its own key and its published orientation, so that base checkpoints load
/// unchanged with and without an adapter.
#[derive(Module, Debug)]
pub struct Projection<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// The adapter, if one is attached.
    pub adapter: Option<Adapter<B>>,
    /// Adapters that act on some rows of a pass each, by their numbers; a number may be free.
    pub served: Vec<Option<Adapter<B>>>,
}

impl<B: Backend> Projection<B> {
    /// A projection whose weights are yet to be loaded.
    pub fn uninitialized(
        [input, output]: [usize; 2],
        bias: bool,
        dtype: DType,
        device: &B::Device,
    ) -> Self {
        Self {
            weight: uninitialized([output, input], dtype, device),
            bias: bias.then(|| uninitialized([output], dtype, device)),
            adapter: None,
            served: Vec::new(),
        }
    }

    /// Width of the input and of the output.
    pub fn dims(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[1], shape[0]]
    }
}

impl<B: GlmBackend> Projection<B> {
    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - `x`: `[batch, tokens, in]`
    /// - result: `[batch, tokens, out]`, in the type of `x`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.forward_in(x, LinearContext::default())
    }

    /// As [`forward`](Self::forward) in a pass: with a seed, the adapter's input goes through its dropout; with
    /// adapters by rows, each acts on its own.
    pub fn forward_in(&self, x: Tensor<B, 3>, context: LinearContext<'_>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let rows = x.reshape([batch * tokens, width]);
        let served = context.adapters.filter(|_| !self.served.is_empty());
        let output = match served {
            Some(adapters) => {
                let output = self.output(rows.clone(), context.dropout_seed);
                adapters.add(&self.served, rows, output)
            }
            None => self.output(rows, context.dropout_seed),
        };
        let out = output.dims()[1];
        output.reshape([batch, tokens, out])
    }

    fn output(&self, rows: Tensor<B, 2>, dropout_seed: Option<u64>) -> Tensor<B, 2> {
        let call = self.call(rows, dropout_seed);
        match &self.adapter {
            Some(adapter) => adapter.forward(call),
            None => call.output(),
        }
    }

    /// The layer and an input `[rows, in]`, as an adapter sees them.
    fn call(&self, input: Tensor<B, 2>, dropout_seed: Option<u64>) -> LinearCall<B> {
        LinearCall {
            input,
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(|bias| bias.val()),
            dropout_seed,
        }
    }

    /// The layer as an output layer without a bias, for a loss that never has all logits at once.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, in]`
    pub fn head_operands(&self, hidden: Tensor<B, 2>, seed: Option<u64>) -> HeadOperands<B> {
        let call = self.call(hidden, seed);
        match &self.adapter {
            Some(adapter) => adapter.head_operands(call),
            None => HeadOperands {
                hidden: call.input,
                weight: call.weight,
                factors: None,
            },
        }
    }
}

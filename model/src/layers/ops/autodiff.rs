//! Hand-written backward passes of the leaf operations for `Autodiff<B>`.
//!
//! Each keeps what its formula needs and nothing more: attention keeps no scores, and a frozen
//! weight costs neither a gradient nor the activation that only its gradient would need.

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, TensorMetadata};

use super::{
    AttentionInput, AttentionOutput, GlmBackend, HeadAdapter, HeadGradients, HeadLoss, unwrap, wrap,
};
use crate::layers::dropout::Dropout;
use crate::layers::projection::to_type;
use crate::layers::rotary::{Direction, RotaryPairs};

/// `gradᵀ · x` and the column sums of `grad`: the gradients of a linear's weight and bias.
#[derive(Debug)]
struct Linear;

/// What the backward pass of a linear needs; absent where nobody asks for it.
#[derive(Debug, Clone)]
struct LinearState<B: GlmBackend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
}

fn linear_grad_weight<B: GlmBackend>(grad: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).transpose().matmul(wrap::<B, 2>(x)))
}

impl<B: GlmBackend> Backward<B, 2> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(x)) = (weight_node, ops.state.x) {
            grads.register::<B>(node.id, linear_grad_weight::<B>(grad.clone(), x));
        }
        if let (Some(node), Some(weight)) = (x_node, ops.state.weight) {
            grads.register::<B>(node.id, B::glm_linear_backward_input(grad, weight));
        }
    }
}

#[derive(Debug)]
struct LinearBias;

impl<B: GlmBackend> Backward<B, 3> for LinearBias {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = bias_node {
            let sums = wrap::<B, 2>(grad.clone()).sum_dim(0).squeeze_dim::<1>(0);
            grads.register::<B>(node.id, unwrap(sums));
        }
        if let (Some(node), Some(x)) = (weight_node, ops.state.x) {
            grads.register::<B>(node.id, linear_grad_weight::<B>(grad.clone(), x));
        }
        if let (Some(node), Some(weight)) = (x_node, ops.state.weight) {
            grads.register::<B>(node.id, B::glm_linear_backward_input(grad, weight));
        }
    }
}

/// Ends an operation: registers it with its state where a parent is tracked.
macro_rules! finish {
    ($operation:ident, $strategy:ident, $nodes:expr, $state:expr, $output:expr) => {
        match $operation
            .prepare::<$strategy>($nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish($state, $output),
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

#[derive(Debug)]
struct RmsNorm;

impl<B: GlmBackend> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let (grad_x, grad_weight) = B::glm_rms_norm_backward(x, weight, epsilon, grad);
        register::<B, 2>(
            grads,
            ops.parents.map(|node| node.map(|n| n.id)),
            [grad_x, grad_weight],
        );
    }
}

#[derive(Debug)]
struct LayerNorm;

impl<B: GlmBackend> Backward<B, 3> for LayerNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let (grad_x, grad_weight, grad_bias) = B::glm_layer_norm_backward(x, weight, epsilon, grad);
        let nodes = ops.parents.map(|node| node.map(|n| n.id));
        register::<B, 3>(grads, nodes, [grad_x, grad_weight, grad_bias]);
    }
}

#[derive(Debug)]
struct Rotary;

impl<B: GlmBackend> Backward<B, 1> for Rotary {
    type State = (FloatTensor<B>, FloatTensor<B>, RotaryPairs, Direction);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (cos, sin, pairs, direction) = ops.state;
        let grad_x = B::glm_rotary(grad, cos, sin, pairs, direction.reversed());
        register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
    }
}

/// A function of one tensor whose backward pass needs its input.
macro_rules! unary_backward {
    ($name:ident, $backward:ident) => {
        #[derive(Debug)]
        struct $name;

        impl<B: GlmBackend> Backward<B, 1> for $name {
            type State = FloatTensor<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let grad = grads.consume::<B>(&ops.node);
                let grad_x = B::$backward(ops.state, grad);
                register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
            }
        }
    };
}

unary_backward!(Swiglu, glm_swiglu_backward);
unary_backward!(GeluTanh, glm_gelu_tanh_backward);

#[derive(Debug)]
struct Attention;

impl<B: GlmBackend> Backward<B, 3> for Attention {
    type State = (AttentionInput<B>, AttentionOutput<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (input, output) = ops.state;
        let (grad_query, grad_key, grad_value) = B::glm_attention_backward(input, output, grad);
        let nodes = ops.parents.map(|node| node.map(|n| n.id));
        register::<B, 3>(grads, nodes, [grad_query, grad_key, grad_value]);
    }
}

#[derive(Debug)]
struct DropoutBackward;

impl<B: GlmBackend> Backward<B, 1> for DropoutBackward {
    type State = Dropout;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let grad_x = B::glm_dropout(grad, ops.state);
        register::<B, 1>(grads, ops.parents.map(|node| node.map(|n| n.id)), [grad_x]);
    }
}

#[derive(Debug)]
struct HeadLossBackward;

impl<B: GlmBackend, const N: usize> Backward<B, N> for HeadLossBackward {
    /// The gradients, which the forward pass has computed.
    type State = [Option<FloatTensor<B>>; N];

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = wrap::<B, 1>(grads.consume::<B>(&ops.node)).unsqueeze::<2>();
        for (node, value) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(node), Some(value)) = (node, value) {
                // In float32: half precision has no room for a factor beyond 65504.
                let dtype = value.dtype();
                let product = to_type(wrap::<B, 2>(value), DType::F32) * grad.clone();
                grads.register::<B>(node.id, unwrap(to_type(product, dtype)));
            }
        }
    }
}

/// Registers the gradients of those parents that are tracked.
fn register<B: GlmBackend, const N: usize>(
    grads: &mut Gradients,
    nodes: [Option<burn_autodiff::NodeId>; N],
    values: [FloatTensor<B>; N],
) {
    for (node, value) in nodes.into_iter().zip(values) {
        if let Some(node) = node {
            grads.register::<B>(node, value);
        }
    }
}

impl<B: GlmBackend, C: CheckpointStrategy> GlmBackend for Autodiff<B, C> {
    fn glm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        let output = B::glm_linear(
            x.primitive.clone(),
            weight.primitive.clone(),
            bias.as_ref().map(|bias| bias.primitive.clone()),
        );
        let state = LinearState::<B> {
            x: (!weight.node.requirement.is_none()).then_some(x.primitive),
            weight: (!x.node.requirement.is_none()).then_some(weight.primitive),
        };
        match bias {
            None => finish!(Linear, C, [x.node, weight.node], state, output),
            Some(bias) => finish!(
                LinearBias,
                C,
                [x.node, weight.node, bias.node],
                state,
                output
            ),
        }
    }

    fn glm_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let output = B::glm_rms_norm(x.primitive.clone(), weight.primitive.clone(), epsilon);
        let state = (x.primitive, weight.primitive, epsilon);
        finish!(RmsNorm, C, [x.node, weight.node], state, output)
    }

    fn glm_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let output = B::glm_layer_norm(
            x.primitive.clone(),
            weight.primitive.clone(),
            bias.primitive,
            epsilon,
        );
        let state = (x.primitive, weight.primitive, epsilon);
        finish!(
            LayerNorm,
            C,
            [x.node, weight.node, bias.node],
            state,
            output
        )
    }

    fn glm_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (cos.primitive, sin.primitive);
        let output = B::glm_rotary(x.primitive, cos.clone(), sin.clone(), pairs, direction);
        let state = (cos, sin, pairs, direction);
        finish!(Rotary, C, [x.node], state, output)
    }

    fn glm_swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::glm_swiglu(x.primitive.clone());
        finish!(Swiglu, C, [x.node], x.primitive, output)
    }

    fn glm_gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::glm_gelu_tanh(x.primitive.clone());
        finish!(GeluTanh, C, [x.node], x.primitive, output)
    }

    fn glm_attention(input: AttentionInput<Self>) -> AttentionOutput<Self> {
        let nodes = [input.query.node, input.key.node, input.value.node];
        let inner = AttentionInput::<B> {
            query: input.query.primitive,
            key: input.key.primitive,
            value: input.value.primitive,
            mask: input.mask.inner(),
            scale: input.scale,
        };
        let output = B::glm_attention(inner.clone());
        // Only the backward pass reads it: it never carries a gradient.
        let log_sum_exp = <Self as AutodiffBackend>::from_inner(output.log_sum_exp.clone());
        let result = output.output.clone();
        AttentionOutput {
            output: finish!(Attention, C, nodes, (inner, output), result),
            log_sum_exp,
        }
    }

    fn glm_head_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        adapter: Option<HeadAdapter<Self>>,
        targets: IntTensor<Self>,
        wanted: HeadGradients,
    ) -> HeadLoss<Self> {
        // Who is tracked decides; the gradients themselves travel in the graph.
        let wanted = HeadGradients {
            hidden: !hidden.node.requirement.is_none(),
            weight: !weight.node.requirement.is_none(),
            adapter: adapter.as_ref().is_some_and(|adapter| {
                let factors = [&adapter.low.node, &adapter.up.node];
                factors.iter().any(|node| !node.requirement.is_none())
            }),
            scale: wanted.scale,
        };
        let nodes = adapter
            .as_ref()
            .map(|adapter| (adapter.low.node.clone(), adapter.up.node.clone()));
        let adapter = adapter.map(|adapter| HeadAdapter {
            low: adapter.low.primitive,
            up: adapter.up.primitive,
        });
        let result = B::glm_head_loss(hidden.primitive, weight.primitive, adapter, targets, wanted);
        let (grad_hidden, grad_weight) = (result.grad_hidden, result.grad_weight);
        let loss = match nodes {
            None => {
                let state = [grad_hidden, grad_weight];
                let nodes = [hidden.node, weight.node];
                finish!(HeadLossBackward, C, nodes, state, result.loss)
            }
            Some((low, up)) => {
                let (grad_low, grad_up) = match result.grad_adapter {
                    Some(adapter) => (Some(adapter.low), Some(adapter.up)),
                    None => (None, None),
                };
                let state = [grad_hidden, grad_weight, grad_low, grad_up];
                let nodes = [hidden.node, weight.node, low, up];
                finish!(HeadLossBackward, C, nodes, state, result.loss)
            }
        };
        HeadLoss {
            loss,
            grad_hidden: None,
            grad_weight: None,
            grad_adapter: None,
        }
    }

    fn glm_dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        let output = B::glm_dropout(x.primitive, dropout);
        finish!(DropoutBackward, C, [x.node], dropout, output)
    }
}

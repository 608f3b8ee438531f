//! Fused leaf operations for the CPU: rayon over rows and heads, AVX2 or AVX-512 where the processor
//! has it (chosen at run time), float32 arithmetic whatever the storage type.

mod activation;
mod attention;
mod dropout;
mod head_loss;
mod linear;
mod norm;
mod optimizer;
mod rotary;
mod simd;
mod values;

use burn::tensor::ops::{FloatTensor, IntTensor};
use burn_flex::Flex;

use super::{
    AdamMoments, AdamStep, AttentionInput, AttentionOutput, GlmBackend, HeadAdapter, HeadGradients,
    HeadLoss,
};
use crate::layers::dropout::Dropout;
use crate::layers::rotary::{Direction, RotaryPairs};

type Float = FloatTensor<Flex>;

impl GlmBackend for Flex {
    fn glm_linear(x: Float, weight: Float, bias: Option<Float>) -> Float {
        linear::linear(x, weight, bias)
    }

    fn glm_linear_backward_input(grad: Float, weight: Float) -> Float {
        linear::backward_input(grad, weight)
    }

    fn glm_rms_norm(x: Float, weight: Float, epsilon: f64) -> Float {
        norm::rms_norm(x, weight, epsilon)
    }

    fn glm_rms_norm_backward(x: Float, weight: Float, epsilon: f64, grad: Float) -> (Float, Float) {
        norm::rms_norm_backward(x, weight, epsilon, grad)
    }

    fn glm_layer_norm(x: Float, weight: Float, bias: Float, epsilon: f64) -> Float {
        norm::layer_norm(x, weight, bias, epsilon)
    }

    fn glm_rotary(
        x: Float,
        cos: Float,
        sin: Float,
        pairs: RotaryPairs,
        direction: Direction,
    ) -> Float {
        rotary::rotary(x, cos, sin, pairs, direction)
    }

    fn glm_swiglu(x: Float) -> Float {
        activation::swiglu(x)
    }

    fn glm_swiglu_backward(x: Float, grad: Float) -> Float {
        activation::swiglu_backward(x, grad)
    }

    fn glm_gelu_tanh(x: Float) -> Float {
        activation::gelu_tanh(x)
    }

    fn glm_gelu_tanh_backward(x: Float, grad: Float) -> Float {
        activation::gelu_tanh_backward(x, grad)
    }

    fn glm_attention(input: AttentionInput<Flex>) -> AttentionOutput<Flex> {
        attention::attention(input)
    }

    fn glm_attention_backward(
        input: AttentionInput<Flex>,
        output: AttentionOutput<Flex>,
        grad: Float,
    ) -> (Float, Float, Float) {
        attention::attention_backward(input, output, grad)
    }

    fn glm_head_loss(
        hidden: Float,
        weight: Float,
        adapter: Option<HeadAdapter<Flex>>,
        targets: IntTensor<Flex>,
        wanted: HeadGradients,
    ) -> HeadLoss<Flex> {
        head_loss::head_loss(hidden, weight, adapter, targets, wanted)
    }

    fn glm_dropout(x: Float, dropout: Dropout) -> Float {
        dropout::dropout(x, dropout)
    }

    fn glm_sum_of_squares(x: Float) -> Float {
        optimizer::sum_of_squares(x)
    }

    fn glm_adamw(
        weight: Float,
        grad: Float,
        moments: AdamMoments<Flex>,
        step: &AdamStep,
    ) -> (Float, AdamMoments<Flex>) {
        optimizer::adamw(weight, grad, moments, step)
    }
}

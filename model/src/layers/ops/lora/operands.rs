//! What a linear layer with LoRA is given, keeps and returns.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::ops::dropout::Dropout;

/// A layer and its input. The factors may have another type than the rest: float32 masters under a compute type
/// of 16 bits.
#[derive(Debug, Clone)]
pub struct LoraLayer<B: Backend> {
    /// `[rows, in]`.
    pub x: FloatTensor<B>,
    /// `[out, in]`, in the type of `x`.
    pub weight: FloatTensor<B>,
    /// `[out]`, in the type of `x`.
    pub bias: Option<FloatTensor<B>>,
    /// A, `[rank, in]`.
    pub a: FloatTensor<B>,
    /// B, `[out, rank]`.
    pub b: FloatTensor<B>,
    /// What the product of the factors is multiplied with.
    pub scaling: f64,
    /// The dropout of the factors' input.
    pub dropout: Option<Dropout>,
}

/// The result of the forward pass.
#[derive(Debug, Clone)]
pub struct LoraForward<B: Backend> {
    /// `[rows, out]`, in the type of `x`.
    pub output: FloatTensor<B>,
    /// `scaling·drop(x)·Aᵀ`, `[rows, rank]`, in the type of `x`: the gradient of B needs it.
    pub low: FloatTensor<B>,
}

/// What the backward pass needs of the forward pass; absent where the gradient that needs it is not wanted.
#[derive(Debug, Clone)]
pub struct LoraKept<B: Backend> {
    /// For the gradient of A, `[rows, in]`.
    pub x: Option<FloatTensor<B>>,
    /// For the gradient of B, `[rows, rank]`.
    pub low: Option<FloatTensor<B>>,
    /// For the gradient of `x`, `[out, in]`.
    pub weight: Option<FloatTensor<B>>,
    /// `[rank, in]`.
    pub a: FloatTensor<B>,
    /// `[out, rank]`.
    pub b: FloatTensor<B>,
    /// As in the forward pass.
    pub scaling: f64,
    /// As in the forward pass.
    pub dropout: Option<Dropout>,
}

/// The gradients.
#[derive(Debug, Clone)]
pub struct LoraGradients<B: Backend> {
    /// `[rows, in]`, in the type of the gradient that came.
    pub x: Option<FloatTensor<B>>,
    /// `[rank, in]`, in the type of A.
    pub a: Option<FloatTensor<B>>,
    /// `[out, rank]`, in the type of B.
    pub b: Option<FloatTensor<B>>,
}

//! Linear layers of Burn's matrix product.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::layers::ops::primitive::{unwrap, wrap};

/// See [`LinearOps::glm_linear`](super::LinearOps::glm_linear).
pub fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let output = wrap::<B, 2>(x).matmul(wrap::<B, 2>(weight).transpose());
    match bias {
        Some(bias) => unwrap(output + wrap::<B, 1>(bias).unsqueeze::<2>()),
        None => unwrap(output),
    }
}

/// See [`LinearOps::glm_linear_backward_input`](super::LinearOps::glm_linear_backward_input).
pub fn linear_backward_input<B: Backend>(
    grad: FloatTensor<B>,
    weight: FloatTensor<B>,
) -> FloatTensor<B> {
    unwrap(wrap::<B, 2>(grad).matmul(wrap::<B, 2>(weight)))
}

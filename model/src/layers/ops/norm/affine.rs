//! What belongs to a norm that scales and shifts.

use burn::tensor::ops::FloatTensor;

/// The gradients of a layer norm's weight and bias.
pub type AffineGradients<B> = (FloatTensor<B>, FloatTensor<B>);

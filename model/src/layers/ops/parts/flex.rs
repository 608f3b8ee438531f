//! Views cost the CPU nothing, and a part's gradient is written where it belongs.

use burn_flex::Flex;

use super::PartsOps;
use crate::layers::ops::flex::Float;
use crate::layers::ops::flex::write::write_along;

impl PartsOps for Flex {
    fn glm_parts_backward(whole: Float, grad: Float, axis: usize, start: usize) -> Float {
        write_along(whole, grad, axis, start)
    }
}

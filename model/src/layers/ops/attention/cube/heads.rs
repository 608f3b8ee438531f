//! Queries, keys and values where they lie in memory.
//!
//! A kernel gets shapes and strides with its arguments: those of CubeCL's own tensors would be copied to the device
//! for every launch.

// What the macro makes of a function has no comments.
#![allow(missing_docs)]

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::View;
use cubecl::std::tensor::launch::ViewArg;
use cubecl::std::tensor::layout::{Layout, LayoutExpand};

/// A row of the batch, a token, a head, and a vector of the head.
pub type HeadPlace = (usize, usize, usize, usize);

/// Heads that a kernel reads.
pub type HeadView<E> = View<E, HeadPlace>;

/// `[batch, tokens, heads, head_dim]` with whatever strides, which count elements.
#[derive(CubeType, CubeLaunch, Clone)]
pub struct HeadLayout {
    batch: usize,
    tokens: usize,
    heads: usize,
    width: usize,
    batch_stride: usize,
    token_stride: usize,
    head_stride: usize,
    element_stride: usize,
    #[cube(comptime)]
    lanes: usize,
}

#[cube]
impl Layout for HeadLayout {
    type Coordinates = HeadPlace;
    type SourceCoordinates = usize;

    fn to_source_pos(&self, place: Self::Coordinates) -> usize {
        let (batch, token, head, vector) = place;
        let start = batch * self.batch_stride + token * self.token_stride + head * self.head_stride;
        start / comptime!(self.lanes) + vector * self.element_stride
    }

    fn to_source_pos_checked(&self, place: Self::Coordinates) -> (usize, bool) {
        (self.to_source_pos(place), self.is_in_bounds(place))
    }

    fn shape(&self) -> Self::Coordinates {
        (self.batch, self.tokens, self.heads, self.width)
    }

    fn is_in_bounds(&self, place: Self::Coordinates) -> bool {
        let (batch, token, head, vector) = place;
        batch < self.batch && token < self.tokens && head < self.heads && vector < self.width
    }
}

/// `tensor`, `[batch, tokens, heads, head_dim]`, read in vectors of so many elements.
pub fn head_view<R: CubeRuntime>(tensor: CubeTensor<R>, lanes: usize) -> ViewArg<HeadPlace, R> {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let layout = HeadLayoutLaunch::new(
        shape[0],
        shape[1],
        shape[2],
        shape[3] / lanes,
        strides[0],
        strides[1],
        strides[2],
        strides[3],
        lanes,
    );
    ViewArg::new_tensor::<HeadLayout>(tensor.into_tensor_arg(), layout)
}

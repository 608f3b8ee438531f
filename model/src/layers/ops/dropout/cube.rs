//! Dropout in one launch: every unit hashes the places of its elements, and nothing is uploaded.

use burn::tensor::TensorMetadata;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{Dropout, DropoutOps, default};
use crate::layers::ops::cube::{empty, fused, units, vector_size};

impl<R, F, I, BT> DropoutOps for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn glm_dropout(x: CubeTensor<R>, settings: Dropout) -> CubeTensor<R> {
        match fused(&[&x]) {
            true => dropout(x, settings),
            false => default::dropout::<Self>(x, settings),
        }
    }
}

fn dropout<R: CubeRuntime>(x: CubeTensor<R>, dropout: Dropout) -> CubeTensor<R> {
    let (client, dtype, shape) = (x.client.clone(), x.dtype, x.shape());
    let out = empty(&x, shape.clone(), dtype);
    let vector = vector_size(&[&x, &out], shape[shape.num_dims() - 1]);
    let (count, dim) = units(&client, shape.num_elements() / vector);
    // SAFETY: no unit reads or writes beyond the elements.
    unsafe {
        dropout_kernel::launch_unchecked(
            &client,
            count,
            dim,
            vector,
            x.into_linear_view(),
            out.clone().into_linear_view(),
            mask(Some(dropout)),
            dtype.into(),
        );
    }
    out
}

/// A mask as kernels take it; none keeps every element as it is.
pub(in crate::layers::ops) fn mask<R: CubeRuntime>(dropout: Option<Dropout>) -> MaskLaunch<R> {
    let all = Dropout { rate: 0.0, seed: 0 };
    let settings = dropout.unwrap_or(all);
    MaskLaunch::new(
        settings.seed as u32,
        (settings.seed >> 32) as u32,
        settings.threshold(),
        settings.scale(),
        dropout.is_some(),
    )
}

/// Which elements are dropped, and what the others are multiplied with.
#[derive(CubeType, CubeLaunch)]
pub(in crate::layers::ops) struct Mask {
    seed_low: u32,
    seed_high: u32,
    threshold: u32,
    scale: f32,
    #[cube(comptime)]
    drops: bool,
}

/// What the mask makes of the value of an element at a place.
#[cube]
pub(in crate::layers::ops) fn masked(value: f32, place: usize, mask: &Mask) -> f32 {
    if comptime!(mask.drops) {
        // The high half of an element's place is 0: a tensor has fewer than 2^32 of them.
        let hash = hash(u32::cast_from(place), mask.seed_low, mask.seed_high);
        select(hash < mask.threshold, f32::new(0.0), value * mask.scale)
    } else {
        value
    }
}

#[cube(launch_unchecked)]
fn dropout_kernel<F: Float, N: Size>(
    x: &LinearView<Vector<F, N>>,
    out: &mut LinearView<Vector<F, N>, ReadWrite>,
    mask: &Mask,
    #[define(F)] _dtype: StorageType,
) {
    if !out.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let mut values = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]);
    #[unroll]
    for lane in 0..N::value() {
        values[lane] = masked(values[lane], ABSOLUTE_POS * N::value() + lane, mask);
    }
    out[ABSOLUTE_POS] = Vector::cast_from(values);
}

/// The host's [`hash`](super::mask::hash), with the seed in two halves: not every GPU has integers of 64 bits.
#[cube]
fn hash(place: u32, seed_low: u32, seed_high: u32) -> u32 {
    let once = mix((place * 0x9e37_79b9u32) ^ seed_low);
    mix(once ^ seed_high)
}

#[cube]
fn mix(x: u32) -> u32 {
    let x = x ^ (x >> 16u32);
    let x = x * 0x7feb_352du32;
    let x = x ^ (x >> 15u32);
    let x = x * 0x846c_a68bu32;
    x ^ (x >> 16u32)
}

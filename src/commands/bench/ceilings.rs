//! What the machine gives at most: the rate of a large product, and that of a large copy. All else is held against
//! them.

use std::thread;

use burn::tensor::{Distribution, Tensor};
use glmtune_model::GlmBackend;
use glmtune_model::layers::linear;

use super::measured::Found;
use super::place::Place;
use crate::commands::error::Result;

/// The product's name.
pub const PRODUCT: &str = "product";
/// The copy's name.
pub const COPY: &str = "copy";

/// The smallest and the largest matrix: it grows until a product takes long enough, or its rate no longer grows.
const WIDTHS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
/// Seconds that are long enough.
const LONG: f64 = 0.05;
/// Bytes of the copy on the CPU, and the most on a device: more than any cache holds.
const HOST_BYTES: usize = 256 << 20;
const DEVICE_BYTES: [usize; 3] = [16 << 20, 64 << 20, 512 << 20];

/// Measures both.
///
/// # Errors
/// If the device fails.
pub fn measure<B: GlmBackend>(place: &Place<'_, B>) -> Result<Vec<Found>> {
    let product = product(place)?;
    let copy = match place.selected.iter().all(|selected| selected.is_cpu()) {
        true => host_copy(place)?,
        false => device_copy(place)?,
    };
    Ok(vec![product, copy])
}

/// The best product of a square matrix with a weight.
fn product<B: GlmBackend>(place: &Place<'_, B>) -> Result<Found> {
    let mut best: Option<Found> = None;
    // The copy has the other half.
    let half = place.clock.share(2);
    for (index, width) in WIDTHS.into_iter().enumerate() {
        let (x, weight) = (place.random([width, width]), place.random([width, width]));
        let clock = half.share(2 * (WIDTHS.len() - index));
        let products = (width as f64).powi(3);
        let layer = clock.repeat_short(
            PRODUCT,
            || drop(linear(x.clone(), weight.clone(), None)),
            || place.wait(),
        )?;
        let plain = clock.repeat_short(
            PRODUCT,
            || drop(x.clone().matmul(weight.clone())),
            || place.wait(),
        )?;
        for found in [layer.products(products), plain.products(products)] {
            let is_better = best.as_ref().is_none_or(|best| rate(&found) > rate(best));
            let is_long = found.seconds.median > LONG;
            if is_better {
                best = Some(found);
            }
            if is_long {
                return Ok(best.unwrap_or_default());
            }
        }
    }
    Ok(best.unwrap_or_default())
}

fn rate(found: &Found) -> f64 {
    found.rate(found.operations).unwrap_or(0.0)
}

/// A copy in the host's memory on all threads.
fn host_copy<B: GlmBackend>(place: &Place<'_, B>) -> Result<Found> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let from = vec![1u64; HOST_BYTES / size_of::<u64>()];
    // Not zeros, which would be asked for from the system while they are written.
    let mut to = vec![2u64; from.len()];
    let part = from.len().div_ceil(threads);
    let found = place.clock.share(1).repeat(COPY, || {
        thread::scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(|| to.copy_from_slice(from));
            }
        });
        Ok(())
    })?;
    Ok(found.bytes(2.0 * HOST_BYTES as f64))
}

/// A pass over a large tensor of a device.
fn device_copy<B: GlmBackend>(place: &Place<'_, B>) -> Result<Found> {
    let mut found = Found::default();
    for bytes in DEVICE_BYTES {
        let shape = [bytes / size_of::<f32>()];
        let tensor = Tensor::<B, 1>::random(shape, Distribution::Default, place.device());
        let clock = place.clock.share(DEVICE_BYTES.len());
        let copy = || drop(tensor.clone().add_scalar(1.0));
        found = clock.repeat_short(COPY, copy, || place.wait())?;
        found = found.bytes(2.0 * bytes as f64);
        if found.seconds.median > LONG {
            break;
        }
    }
    Ok(found)
}

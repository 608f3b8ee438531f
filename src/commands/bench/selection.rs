//! The fastest kernel of a product: each one that the backend can be asked for is checked against the plain one, and
//! then timed. What is found is kept in the user's cache, for the model to use.
//!
//! A kernel may end the process, since a device that refuses one is lost to it. So each is noted before it is tried, and one
//! with which a process ended is not tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Tensor, TensorPrimitive};
use glmtune_model::GlmBackend;
use glmtune_model::layers::ops::linear::kernels::ProductClass;

use super::clock::Clock;
use super::place::Place;
use crate::commands::error::Result;
use crate::commands::session::type_name;
use crate::kernel_table::{self, Measurements};

/// The kernel that the others are checked against.
const PLAIN: &str = "naive";
/// Seconds for the repetitions of a kernel.
const SECONDS: f64 = 0.3;
/// A kernel is tried only while there is time for so many products.
const ROOM: f64 = 6.0;
/// Rows that are left out in a second check: tiles must not depend on their number.
const RAGGED: usize = 7;

/// A product.
pub struct Product<B: GlmBackend> {
    /// Its class.
    pub class: ProductClass,
    /// `[m, k]`.
    pub lhs: Tensor<B, 2>,
    /// `[k, n]`.
    pub rhs: Tensor<B, 2>,
    /// The same with fewer rows of activations.
    pub ragged: Option<[Tensor<B, 2>; 2]>,
}

impl<B: GlmBackend> Product<B> {
    /// How many rows of activations are left out for the second check, of so many.
    pub fn fewer(rows: usize) -> Option<usize> {
        (rows > 2 * RAGGED).then(|| rows - RAGGED)
    }
}

/// Largest difference from the plain product, as a part of its largest element: both round their result to the type,
/// and float32 is multiplied as TF32 where the device has it.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => 1e-2,
        DType::F16 => 2e-3,
        _ => 5e-3,
    }
}

/// Tries the kernels that were not tried yet, while there is time.
///
/// # Errors
/// If the device fails, or the cache cannot be written.
pub fn choose<B: GlmBackend>(
    place: &Place<'_, B>,
    known: &mut Measurements,
    product: &Product<B>,
    clock: Clock,
) -> Result<()> {
    let names = B::glm_product_kernels(product.lhs.dims()[0]);
    let at = kernel_table::Place {
        device: place.selected[0].to_string(),
        dtype: type_name(place.dtype).to_string(),
        class: product.class,
    };
    if names.iter().all(|name| known.was_tried(&at, name)) || clock.left() <= 0.0 {
        return Ok(());
    }
    let own = match known.own_seconds(&at) {
        Some(seconds) => seconds,
        None => {
            let (lhs, rhs) = (&product.lhs, &product.rhs);
            let work = || drop(lhs.clone().matmul(rhs.clone()));
            let found = short(clock).repeat_short("", work, || place.wait())?;
            known.set_own(&at, found.seconds.median);
            found.seconds.median
        }
    };
    let Some(check) = Check::of(product, place.dtype)? else {
        return Ok(());
    };
    for name in names {
        if known.was_tried(&at, name) {
            continue;
        }
        if clock.left() < ROOM * own {
            break;
        }
        known.begin(&at, name)?;
        let seconds = match check.passes(name, product) {
            true => {
                let work = || drop(by(name, &product.lhs, &product.rhs));
                let found = short(clock).repeat_short("", work, || place.wait())?;
                Some(found.seconds.median)
            }
            false => None,
        };
        // Whatever it did, the device must be there still.
        place.wait()?;
        known.finish(&at, name, seconds)?;
    }
    Ok(())
}

fn short(clock: Clock) -> Clock {
    Clock::start(SECONDS.min(clock.left()))
}

/// The right results.
struct Check {
    whole: Vec<f32>,
    ragged: Option<Vec<f32>>,
    tolerance: f32,
}

impl Check {
    /// The plain kernel's results; nothing if it is not there, or Burn's own choice gives others: then no kernel can be
    /// trusted.
    fn of<B: GlmBackend>(product: &Product<B>, dtype: DType) -> Result<Option<Self>> {
        let (lhs, rhs) = (&product.lhs, &product.rhs);
        let whole = by(PLAIN, lhs, rhs).and_then(values);
        let ragged = match &product.ragged {
            Some([lhs, rhs]) => by(PLAIN, lhs, rhs).and_then(values).map(Some),
            None => Some(None),
        };
        let (Some(whole), Some(ragged)) = (whole, ragged) else {
            return Ok(None);
        };
        let check = Self {
            whole,
            ragged,
            tolerance: tolerance(dtype),
        };
        let own = values(lhs.clone().matmul(rhs.clone()));
        let agrees = own.is_some_and(|own| check.agrees(&own, &check.whole));
        Ok(agrees.then_some(check))
    }

    /// Whether a kernel computes both products, and rightly.
    fn passes<B: GlmBackend>(&self, name: &str, product: &Product<B>) -> bool {
        let is_right = |lhs, rhs, expected: &[f32]| {
            // A kernel that cannot be set up for the sizes may panic.
            let found = catch_unwind(AssertUnwindSafe(|| by(name, lhs, rhs).and_then(values)));
            let found = found.ok().flatten();
            found.is_some_and(|found| self.agrees(&found, expected))
        };
        let whole = is_right(&product.lhs, &product.rhs, &self.whole);
        whole
            && match (&product.ragged, &self.ragged) {
                (Some([lhs, rhs]), Some(expected)) => is_right(lhs, rhs, expected),
                _ => true,
            }
    }

    fn agrees(&self, found: &[f32], expected: &[f32]) -> bool {
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= self.tolerance * largest;
        found.len() == expected.len() && largest > 0.0 && found.iter().zip(expected).all(near)
    }
}

fn by<B: GlmBackend>(name: &str, lhs: &Tensor<B, 2>, rhs: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
    let side = |tensor: &Tensor<B, 2>| tensor.clone().into_primitive().tensor();
    let found = B::glm_product_by(name, side(lhs), side(rhs))?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(found)))
}

fn values<B: GlmBackend>(tensor: Tensor<B, 2>) -> Option<Vec<f32>> {
    tensor.into_data().convert::<f32>().into_vec().ok()
}

//! Which kernel multiplies what: on a device with several kernels for a product, the fastest one depends on device,
//! type and sizes, and is known only where it was measured.
//!
//! This holds what was measured; a program fills it once, before its first operation. What it does not have is
//! left to the backend.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

/// A product of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// `[rows, in] · [out, in]ᵀ`.
    Forward,
    /// `[rows, out] · [out, in]`: the gradient of the input.
    Input,
    /// `[rows, out]ᵀ · [rows, in]`: the gradient of the weight.
    Weight,
}

impl Pass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Input, Self::Weight];
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Input => "backward, input",
            Self::Weight => "backward, weight",
        })
    }
}

/// Products that one kernel computes: those of a layer's widths, and of up to so many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProductClass {
    /// Which of the layer's products.
    pub pass: Pass,
    /// The most rows, a power of two; more than half of them.
    pub rows: usize,
    /// Width of the input.
    pub input: usize,
    /// Width of the output.
    pub output: usize,
}

impl ProductClass {
    /// The class of a product.
    pub fn of(pass: Pass, rows: usize, input: usize, output: usize) -> Self {
        Self {
            pass,
            rows: rows.next_power_of_two(),
            input,
            output,
        }
    }
}

/// The kernels by type and class, by their names.
pub type KernelTable = HashMap<(DType, ProductClass), String>;

/// The operations are functions of a backend's type and of tensors, which carry no settings of ours: as with
/// `cube::set_fused`, what holds for all of them is the process's own.
static TABLE: RwLock<Option<KernelTable>> = RwLock::new(None);

/// From here on, products are computed by these kernels, which were measured on the device of this process; those
/// that have none by the backend's own choice.
pub fn set_kernels(table: KernelTable) {
    let table = Some(table).filter(|table| !table.is_empty());
    *TABLE.write().unwrap_or_else(PoisonError::into_inner) = table;
}

/// The kernel of a product, if one was measured.
pub fn kernel(dtype: DType, class: ProductClass) -> Option<String> {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    table.as_ref()?.get(&(dtype, class)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_up_to_a_power_of_two_are_of_one_class() {
        let class = |rows| ProductClass::of(Pass::Forward, rows, 3, 4);
        assert_eq!(class(1).rows, 1);
        assert_eq!(class(1025), class(1560));
        assert_eq!(class(1025), class(2048));
        assert_ne!(class(1024), class(1025));
        assert_ne!(class(8), ProductClass::of(Pass::Input, 8, 3, 4));
    }
}

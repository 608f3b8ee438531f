//! The type that a run computes in: what was asked for, or the first of some that its devices have.

use burn::tensor::DType;
use glmtune_model::GlmBackend;
use glmtune_model::error::{Error, Result};

use super::{Selected, describe};

/// The first compute capability with arithmetic in half precision, and that with bfloat16. CubeCL 0.10 offers
/// both types everywhere, and NVIDIA's compiler then refuses the kernels.
const F16_FROM: (u32, u32) = (5, 3);
const BF16_FROM: (u32, u32) = (8, 0);

/// Whether kernels in a type can be compiled for a compute capability.
pub fn compiles(capability: (u32, u32), dtype: DType) -> bool {
    match dtype {
        DType::F16 => capability >= F16_FROM,
        DType::BF16 => capability >= BF16_FROM,
        _ => true,
    }
}

/// A type by the name of its flag.
pub fn type_name(dtype: DType) -> &'static str {
    dtype.name()
}

/// The devices of a run, for questions about their types.
pub struct Devices<'a, B: GlmBackend> {
    /// As they were selected.
    pub selected: &'a [Selected],
    /// As Burn addresses them.
    pub devices: &'a [B::Device],
}

impl<B: GlmBackend> Devices<'_, B> {
    /// Whether all of them compute in a type.
    pub fn support(&self, dtype: DType) -> bool {
        let compiles = |selected: &Selected| match selected.capability() {
            Some(capability) => compiles(capability, dtype),
            None => true,
        };
        self.selected.iter().all(compiles)
            && self
                .devices
                .iter()
                .all(|device| B::supports_dtype(device, dtype))
    }

    /// The first of some types that all of them compute in; float32 is always one.
    pub fn first_of(&self, types: &[DType]) -> DType {
        let found = types.iter().find(|&&dtype| self.support(dtype));
        found.copied().unwrap_or(DType::F32)
    }

    /// A type that was asked for.
    ///
    /// # Errors
    /// If one of them does not compute in it, with the reason and with what would be right.
    pub fn require(&self, dtype: DType) -> Result<DType> {
        if self.support(dtype) {
            return Ok(dtype);
        }
        let others = [DType::BF16, DType::F16, DType::F32].into_iter();
        let others = others.filter(|&other| other == DType::F32 || self.support(other));
        let others: Vec<&str> = others.map(type_name).collect();
        Err(Error::Request(format!(
            "{} does not support --dtype {}{}; use --dtype {}",
            describe(self.selected),
            type_name(dtype),
            self.reason(dtype),
            others.join(" or ")
        )))
    }

    fn reason(&self, dtype: DType) -> String {
        let capabilities = self.selected.iter().filter_map(Selected::capability);
        match capabilities.min() {
            Some((major, minor)) if !compiles((major, minor), dtype) => {
                let from = match dtype {
                    DType::F16 => F16_FROM,
                    _ => BF16_FROM,
                };
                format!(
                    " (compute capability {major}.{minor}; {} begins with {}.{})",
                    type_name(dtype),
                    from.0,
                    from.1
                )
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_types_begin_with_a_compute_capability() {
        let cases = [
            ((5, 2), false, false),
            ((5, 3), true, false),
            ((7, 0), true, false),
            ((7, 5), true, false),
            ((8, 0), true, true),
            ((9, 0), true, true),
            ((12, 0), true, true),
        ];
        for (capability, f16, bf16) in cases {
            assert_eq!(compiles(capability, DType::F16), f16, "{capability:?}");
            assert_eq!(compiles(capability, DType::BF16), bf16, "{capability:?}");
            assert!(compiles(capability, DType::F32));
        }
    }

    #[cfg(all(feature = "flex", feature = "cuda"))]
    #[test]
    fn an_older_card_falls_back_and_refuses_with_the_reason() {
        use super::super::CudaCard;
        let card = |capability| {
            Selected::Cuda(CudaCard {
                index: 0,
                name: "A card".to_string(),
                capability,
            })
        };
        // Flex computes in every type, so the card alone decides.
        let devices = [burn_flex::FlexDevice, burn_flex::FlexDevice];
        let of = |selected: &[Selected], dtype| {
            let devices = Devices::<burn_flex::Flex> {
                selected,
                devices: &devices,
            };
            let wanted = [DType::BF16, DType::F16, DType::F32];
            let refused = devices.require(dtype).err().map(|error| error.to_string());
            (devices.first_of(&wanted), refused)
        };
        let (new, old) = ([card((8, 0))], [card((9, 0)), card((7, 5))]);
        assert_eq!(of(&new, DType::BF16), (DType::BF16, None));
        assert_eq!(of(&old, DType::F16), (DType::F16, None));
        let (_, refused) = of(&old, DType::BF16);
        let refused = refused.unwrap_or_default();
        let reason = "does not support --dtype bf16 (compute capability 7.5; bf16 begins with 8.0); use --dtype f16 or f32";
        assert!(refused.ends_with(reason), "{refused}");
    }
}

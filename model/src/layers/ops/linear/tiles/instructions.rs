//! Which instructions the processor at hand has.

/// Whether products are computed so by the processor at hand.
#[cfg(target_arch = "x86_64")]
pub(in crate::layers::ops::linear) fn is_here() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx2") && has!("fma") && has!("f16c")
}

#[cfg(not(target_arch = "x86_64"))]
pub(in crate::layers::ops::linear) fn is_here() -> bool {
    false
}

//! Which registers a processor has, and functions that are compiled for each kind.

/// The registers of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers::ops) enum Registers {
    /// 32 of 16 numbers: AVX-512.
    #[cfg(target_arch = "x86_64")]
    Wide,
    /// 16 of 8 numbers: AVX2, with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Narrow,
    /// Of any kind.
    Plain,
}

impl Registers {
    /// Those of the processor at hand.
    pub fn of_this_cpu() -> Self {
        Self::all()[0]
    }

    /// Rows whose products with four lines they hold at once.
    pub fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Wide => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Narrow => 2,
            Self::Plain => 2,
        }
    }

    /// All that the processor at hand has, the best first.
    pub fn all() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let is_narrow = has!("avx2") && has!("fma") && has!("f16c");
            if is_narrow && has!("avx512f") {
                found.push(Self::Wide);
            }
            if is_narrow {
                found.push(Self::Narrow);
            }
        }
        found.push(Self::Plain);
        found
    }
}

/// Compiles an unsafe function over a [`Vector`] for each kind of registers: `name(registers, …)` calls it for those
/// at hand.
///
/// Everything that it calls must be `#[inline(always)]`: what is not inlined is compiled for the plain instruction set.
macro_rules! in_registers {
    (
        $(#[$doc:meta])*
        fn $name:ident<$number:ident $(, const $size:ident: usize)*>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        = $body:ident
    ) => {
        $(#[$doc])*
        #[inline]
        pub(in crate::layers::ops) unsafe fn $name<$number: Number $(, const $size: usize)*>(
            registers: Registers,
            $($argument: $type),*
        ) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
            unsafe fn wide<$number: Number $(, const $size: usize)*>($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m512, $number $(, $size)*>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn narrow<$number: Number $(, const $size: usize)*>($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m256, $number $(, $size)*>($($argument),*) }
            }
            // SAFETY: `Registers` are those that the processor has, and the rest is the caller's promise.
            unsafe {
                match registers {
                    #[cfg(target_arch = "x86_64")]
                    Registers::Wide => wide::<$number $(, $size)*>($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Registers::Narrow => narrow::<$number $(, $size)*>($($argument),*),
                    Registers::Plain => $body::<[f32; 8], $number $(, $size)*>($($argument),*),
                }
            }
        }
    };
}

pub(super) use in_registers;

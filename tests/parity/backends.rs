//! The backends of this build and their tolerances. Each is asked for by the name of a test.

use glmtune::model::GlmBackend;

/// A backend under test.
pub struct TestBackend<B: GlmBackend> {
    pub device: B::Device,
    pub tolerance: Tolerance,
}

/// Largest `max|a-b| / max|b|` per tensor.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub logits: f32,
    pub gradients: f32,
    /// Half precision against float32: its rounding, which is that of weights and activations too.
    pub half_gradients: f32,
}

/// The one table of tolerances.
pub const FLEX: Tolerance = Tolerance {
    logits: 1e-5,
    gradients: 1e-4,
    half_gradients: 2e-2,
};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub const GPU: Tolerance = Tolerance {
    logits: 1e-4,
    gradients: 1e-3,
    half_gradients: 2e-2,
};

/// The CPU, which every machine has.
#[cfg(feature = "flex")]
pub fn flex(_test: &str) -> Option<TestBackend<burn_flex::Flex>> {
    Some(TestBackend {
        device: Default::default(),
        tolerance: FLEX,
    })
}

/// A GPU through wgpu (or Mesa's software Vulkan).
#[cfg(feature = "wgpu")]
pub fn wgpu(_test: &str) -> Option<TestBackend<burn_wgpu::Wgpu>> {
    has_wgpu().then(|| TestBackend {
        device: Default::default(),
        tolerance: GPU,
    })
}

/// An NVIDIA GPU. Where there is none, a process of its own runs the test on the CUDA device in software.
#[cfg(feature = "cuda")]
pub fn cuda(test: &str) -> Option<TestBackend<burn_cuda::Cuda>> {
    use crate::common::software_cuda::{capability, run_there};
    if glmtune::backend::cuda_devices() == 0 {
        run_there(test, capability::WITHOUT_TF32);
        return None;
    }
    Some(TestBackend {
        device: Default::default(),
        tolerance: GPU,
    })
}

/// Continuous integration installs a software Vulkan, so there wgpu must work.
#[cfg(feature = "wgpu")]
fn has_wgpu() -> bool {
    let found = !glmtune::backend::wgpu_adapters().is_empty();
    let required = std::env::var_os("CI").is_some();
    assert!(found || !required, "CI is set, and wgpu finds no adapter");
    if !found {
        eprintln!("skipped: this machine has no wgpu device");
    }
    found
}

/// Instantiates generic test bodies `fn body<B: GlmBackend>(&TestBackend<B>, family)` for every backend
/// and family.
macro_rules! parity_tests {
    ($($body:ident),* $(,)?) => {
        $crate::backends::parity_tests!(@backend flex "flex" $($body)*);
        $crate::backends::parity_tests!(@backend wgpu "wgpu" $($body)*);
        $crate::backends::parity_tests!(@backend cuda "cuda" $($body)*);
    };
    (@backend $backend:ident $feature:literal $($body:ident)*) => {
        #[cfg(feature = $feature)]
        mod $backend {
            $(mod $body {
                $crate::backends::parity_tests!(@family $backend $body chatglm chatglm2 chatglm3 glm4);
            })*
        }
    };
    (@family $backend:ident $body:ident $($family:ident)*) => {
        $(#[test]
        fn $family() {
            let test = $crate::common::test_name(module_path!(), stringify!($family));
            if let Some(backend) = $crate::backends::$backend(&test) {
                super::super::$body(&backend, stringify!($family));
            }
        })*
    };
}
pub(crate) use parity_tests;

//! Twelve steps of every method and family against those of the published PyTorch code.

use super::GoldenRun;

const RUNS: [&str; 6] = [
    "all",
    "freeze",
    "lora",
    "lora_all",
    "prefix",
    "prefix_projection",
];

/// Largest `max|a-b| / max|b|` of a trajectory.
const FLEX: f64 = 1e-4;
#[cfg(feature = "wgpu")]
const GPU: f64 = 1e-3;

fn trajectories(family: &str, more: &[&str], tolerance: f64) {
    for run in RUNS {
        let golden = GoldenRun::new(family, run);
        let output = golden.train("out", more);
        golden.assert_trajectory(run, &output, tolerance);
    }
}

macro_rules! on_families {
    ($module:ident, $arguments:expr, $tolerance:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn chatglm() {
                trajectories("chatglm", &$arguments, $tolerance);
            }

            #[test]
            fn chatglm2() {
                trajectories("chatglm2", &$arguments, $tolerance);
            }

            #[test]
            fn chatglm3() {
                trajectories("chatglm3", &$arguments, $tolerance);
            }

            #[test]
            fn glm4() {
                trajectories("glm4", &$arguments, $tolerance);
            }
        }
    };
}

on_families!(flex, ["--backend", "flex"], FLEX);
on_families!(
    flex_checkpointed,
    ["--backend", "flex", "--gradient_checkpointing"],
    FLEX
);

#[cfg(feature = "wgpu")]
mod on_wgpu {
    use super::*;

    /// Whether there is an adapter; CI installs a software Vulkan, so there it is no option.
    fn available() -> bool {
        let found = !glmtune::backend::wgpu_adapters().is_empty();
        let required = std::env::var_os("CI").is_some();
        assert!(found || !required, "CI is set, and wgpu finds no adapter");
        if !found {
            eprintln!("skipped: this machine has no wgpu device");
        }
        found
    }

    fn on_wgpu(family: &str) {
        if available() {
            trajectories(family, &["--backend", "wgpu"], GPU);
        }
    }

    #[test]
    fn chatglm() {
        on_wgpu("chatglm");
    }

    #[test]
    fn chatglm2() {
        on_wgpu("chatglm2");
    }

    #[test]
    fn chatglm3() {
        on_wgpu("chatglm3");
    }

    #[test]
    fn glm4() {
        on_wgpu("glm4");
    }
}

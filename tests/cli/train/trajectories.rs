//! Twelve steps of every method and family against those of the published PyTorch code.

use super::{GoldenRun, column};

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

on_families!(
    flex_offloaded,
    [
        "--backend",
        "flex",
        "--offload_optimizer",
        "--gradient_checkpointing"
    ],
    FLEX
);
// Two replicas with one micro-batch each make the golden runs' accumulation of two.
on_families!(
    flex_replicas,
    [
        "--backend",
        "flex",
        "--devices",
        "0,1",
        "--gradient_accumulation_steps",
        "1"
    ],
    FLEX
);

on_families!(
    flex_two_stages,
    ["--backend", "flex", "--pipeline_stages", "2"],
    FLEX
);
// More stages than blocks: some only pass on what they get.
on_families!(
    flex_four_stages,
    [
        "--backend",
        "flex",
        "--pipeline_stages",
        "4",
        "--offload_optimizer"
    ],
    FLEX
);

#[test]
fn four_replicas_are_one_device_with_four_times_the_accumulation() {
    for run in ["all", "lora_all", "prefix_projection"] {
        let golden = GoldenRun::new("chatglm2", run);
        let flex = ["--backend", "flex", "--gradient_accumulation_steps"];
        let one = golden.train("one", &[&flex[..], &["4"]].concat());
        let more = ["1", "--devices", "0,1,2,3", "--gradient_checkpointing"];
        let four = golden.train("four", &[&flex[..], &more].concat());
        for name in ["loss", "grad_norm", "lr"] {
            let (one, four) = (column(&one, name), column(&four, name));
            assert_eq!(one.len(), 6);
            for (a, b) in one.iter().zip(&four) {
                assert!((a - b).abs() <= FLEX * a.abs(), "{run}: {name}: {a} {b}");
            }
        }
    }
}

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

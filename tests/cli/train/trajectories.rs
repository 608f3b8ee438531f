//! Twelve steps of every method and family against those of the published PyTorch code.

use std::path::Path;

use super::{GoldenRun, column};
use crate::common::golden_run::RUNS;

/// Largest `max|a-b| / max|b|` of a trajectory.
const FLEX: f64 = 1e-4;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
const GPU: f64 = 1e-3;

fn trajectories(family: &str, more: &[&str], tolerance: f64) {
    for run in RUNS {
        let golden = GoldenRun::new(family, run);
        let output = golden.train("out", more);
        golden.assert_trajectory(run, &output, tolerance);
    }
}

macro_rules! on_families {
    ($module:ident, $run:expr, $arguments:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn chatglm() {
                $run("chatglm", &$arguments);
            }

            #[test]
            fn chatglm2() {
                $run("chatglm2", &$arguments);
            }

            #[test]
            fn chatglm3() {
                $run("chatglm3", &$arguments);
            }

            #[test]
            fn glm4() {
                $run("glm4", &$arguments);
            }
        }
    };
}

fn on_flex(family: &str, more: &[&str]) {
    trajectories(family, &[&["--backend", "flex"], more].concat(), FLEX);
}

on_families!(flex, on_flex, []);
on_families!(flex_checkpointed, on_flex, ["--gradient_checkpointing"]);
on_families!(
    flex_offloaded_optimizer,
    on_flex,
    ["--offload_optimizer", "--gradient_checkpointing"]
);
on_families!(flex_offloaded_parameters, on_flex, ["--offload_param"]);
// Two replicas with one micro-batch each make the golden runs' accumulation of two.
on_families!(
    flex_replicas,
    on_flex,
    ["--devices", "0,1", "--gradient_accumulation_steps", "1"]
);
on_families!(
    flex_offloaded_replicas,
    on_flex,
    [
        "--devices",
        "0,1",
        "--gradient_accumulation_steps",
        "1",
        "--offload_param",
        "--offload_optimizer"
    ]
);
on_families!(flex_two_stages, on_flex, ["--pipeline_stages", "2"]);
// More stages than blocks: some only pass on what they get.
on_families!(
    flex_four_stages,
    on_flex,
    [
        "--pipeline_stages",
        "4",
        "--offload_optimizer",
        "--offload_param"
    ]
);

/// Half precision with float32 masters stays near the float32 course: within 2 % of a loss, which 12 steps
/// of rounded weights would leave. The loss scale is DeepSpeed's.
#[test]
fn half_precision_follows_float32() {
    for (dtype, offload) in [
        ("bf16", None),
        ("f16", None),
        ("bf16", Some("--offload_param")),
        ("f16", Some("--offload_optimizer")),
    ] {
        for run in ["all", "lora_all"] {
            let golden = GoldenRun::new("chatglm2", run);
            let mut more = vec!["--backend", "flex", "--dtype", dtype];
            more.extend(offload);
            let output = golden.train("out", &more);
            assert_near_float32(&golden, run, &output, &format!("{dtype} {offload:?}"));
        }
    }
}

/// Asserts that each of twelve losses is within 2 % of the one of float32.
fn assert_near_float32(golden: &GoldenRun, run: &str, output: &Path, what: &str) {
    let (found, expected) = (column(output, "loss"), golden.trajectory(run, "loss"));
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b);
    let worst = errors.fold(
        0.0,
        |worst: f64, error| {
            if error <= worst { worst } else { error }
        },
    );
    println!("{what} {run}: at most {worst:.5} from the losses of float32");
    assert!(worst <= 0.02, "{what} {run}: {found:?} {expected:?}");
}

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

    /// Whether there is an adapter; CI installs a software Vulkan, so there it must be one.
    fn available() -> bool {
        let found = !glmtune::backend::wgpu_adapters().is_empty();
        let required = std::env::var_os("CI").is_some();
        assert!(found || !required, "CI is set, and wgpu finds no adapter");
        if !found {
            eprintln!("skipped: this machine has no wgpu device");
        }
        found
    }

    fn on_wgpu(family: &str, more: &[&str]) {
        if available() {
            trajectories(family, &[&["--backend", "wgpu"], more].concat(), GPU);
        }
    }

    on_families!(plain, on_wgpu, []);
    // Checkpointed, with weights that come and go and updates on the host.
    on_families!(
        offloaded,
        on_wgpu,
        ["--offload_param", "--offload_optimizer"]
    );

    #[test]
    fn two_stages() {
        on_wgpu("chatglm2", &["--pipeline_stages", "2"]);
    }
}

/// On the CUDA device in software, whose kernels are compiled when they are first met: a run is a test, so that few
/// can be chosen.
#[cfg(feature = "cuda")]
mod on_cuda {
    use super::*;
    use crate::common::software_cuda::{capability, libraries};
    use crate::glmtune_on_software_cuda;

    /// Trains a golden run; nothing where there is no such device.
    fn train(
        family: &str,
        run: &str,
        capability: &str,
        devices: &str,
        more: &[&str],
    ) -> Option<GoldenRun> {
        let libraries = libraries()?;
        let golden = GoldenRun::new(family, run);
        let more = [&["--backend", "cuda"], more].concat();
        let glmtune =
            |args: &[&str]| glmtune_on_software_cuda(libraries, capability, devices, args);
        golden.run_by("out", &more, glmtune).success();
        Some(golden)
    }

    fn on_cuda(family: &str, run: &str, devices: &str, more: &[&str]) {
        if let Some(golden) = train(family, run, capability::WITHOUT_TF32, devices, more) {
            golden.assert_trajectory(run, &golden.folder.path().join("out"), GPU);
        }
    }

    fn float32(family: &str, run: &str) {
        on_cuda(family, run, "1", &[]);
    }

    /// On a card with tensor cores for both types, which compute products and attention.
    fn half(family: &str, run: &str, dtype: &str) {
        let more = ["--dtype", dtype];
        if let Some(golden) = train(family, run, capability::WITH_TF32, "1", &more) {
            let output = golden.folder.path().join("out");
            assert_near_float32(&golden, run, &output, &format!("{family} {dtype}"));
        }
    }

    fn bf16(family: &str, run: &str) {
        half(family, run, "bf16");
    }

    fn f16(family: &str, run: &str) {
        half(family, run, "f16");
    }

    macro_rules! runs {
        ($($dtype:ident)*) => {
            $(mod $dtype {
                runs!(@types $dtype chatglm chatglm2 chatglm3 glm4);
            })*
        };
        (@types $dtype:ident $($family:ident)*) => {
            $(mod $family {
                runs!(@of $dtype $family all freeze lora lora_all prefix prefix_projection);
            })*
        };
        (@of $dtype:ident $family:ident $($run:ident)*) => {
            $(#[test]
            fn $run() {
                super::super::$dtype(stringify!($family), stringify!($run));
            })*
        };
    }
    runs!(float32 bf16 f16);

    /// Two replicas on two devices, whose gradients meet, with one micro-batch each.
    #[test]
    fn two_replicas() {
        let more = ["--devices", "0,1", "--gradient_accumulation_steps", "1"];
        on_cuda("chatglm2", "lora", "2", &more);
    }

    #[test]
    fn two_stages() {
        let more = ["--devices", "0,1", "--pipeline_stages", "2"];
        on_cuda("chatglm2", "lora", "2", &more);
    }

    #[test]
    fn offloaded() {
        let more = ["--offload_param", "--offload_optimizer"];
        on_cuda("chatglm2", "lora", "1", &more);
    }
}

//! The program on the CUDA device in software: what it refuses, which cards it takes, what it counts.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::software_cuda::{capability, libraries, put_on};

/// The program on the device.
fn program(libraries: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
    put_on(&mut command, libraries, capability::WITH_TF32);
    command.env_remove("GLMTUNE_LOG");
    command
}

/// Asserts that a run ended with exit status 1, without a panic, and gives what it said.
fn failed(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn succeeded(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A tiny model and rows for it.
struct Training {
    folder: tempfile::TempDir,
}

impl Training {
    fn new() -> Self {
        Self::of("tiny")
    }

    fn of(preset: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: String = (3..11)
            .map(|id| {
                format!("{{\"input_ids\": [{id}, 5, 6, 7], \"labels\": [-100, -100, 6, 7]}}\n")
            })
            .collect();
        std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        let training = Self { folder };
        let model = training.path("model");
        let init = [
            "init", "--preset", preset, "--mode", "glm3", "--output", &model,
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
        succeeded(command.args(init).output().unwrap());
        training
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_string()
    }

    fn train(&self, mut program: Command, more: &[&str]) -> Output {
        program
            .args([
                "train",
                "--backend",
                "cuda",
                "--no_cache",
                "--max_steps",
                "2",
            ])
            .args(["--model_name_or_path", &self.path("model")])
            .args(["--train_path", &self.path("rows.jsonl")])
            .args(["--output_dir", &self.path("out")])
            .args(more)
            .output()
            .unwrap()
    }

    fn outputs(&self) -> usize {
        let entries = std::fs::read_dir(self.path("out")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("epoch-") || name == "checkpoint")
            .count()
    }
}

#[test]
fn out_of_memory_ends_a_training() {
    let Some(libraries) = libraries() else { return };
    let training = Training::new();
    let mut program = program(libraries);
    program.env("SOFTWARE_CUDA_MEMORY", "0.001");
    let said = failed(training.train(program, &[]));
    assert!(said.contains("ran out of memory"), "{said}");
    assert!(said.contains("--gradient_checkpointing"), "{said}");
    assert_eq!(training.outputs(), 0);
}

#[test]
fn missing_headers_and_compilers_are_named() {
    let Some(libraries) = libraries() else { return };
    let training = Training::new();
    let mut headless = program(libraries);
    headless.env_remove("CUDA_PATH");
    let has_toolkit = ["/usr/local/cuda", "/opt/cuda", "/usr/bin/nvcc"];
    if !has_toolkit.iter().any(|path| Path::new(path).exists()) {
        let said = failed(training.train(headless, &[]));
        assert!(said.contains("headers were not found"), "{said}");
        assert!(said.contains("CUDA_PATH"), "{said}");
    }
    let driver = training.folder.path().join("driver");
    std::fs::create_dir(&driver).unwrap();
    std::fs::copy(libraries.join("libcuda.so.1"), driver.join("libcuda.so.1")).unwrap();
    let said = failed(training.train(program(&driver), &[]));
    assert!(said.contains("NVRTC"), "{said}");
    assert!(said.contains("LD_LIBRARY_PATH"), "{said}");
    assert_eq!(training.outputs(), 0);
}

#[test]
fn an_older_card_trains_in_f16_and_refuses_bf16() {
    let Some(libraries) = libraries() else { return };
    let training = Training::new();
    let config = training.path("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut config_json: serde_json::Value = serde_json::from_str(&text).unwrap();
    config_json["torch_dtype"] = "bfloat16".into();
    std::fs::write(&config, config_json.to_string()).unwrap();
    let old = || {
        let mut program = program(libraries);
        program.env("SOFTWARE_CUDA_CAPABILITY", "75");
        program
    };
    let said = succeeded(training.train(old(), &[]));
    assert!(said.lines().next().unwrap().ends_with(", f16"), "{said}");
    let refused = training.train(old(), &["--dtype", "bf16"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("compute capability 7.5"), "{said}");
    assert!(said.contains("--dtype f16 or f32"), "{said}");
}

#[test]
fn all_visible_cards_train_unless_some_are_named() {
    let Some(libraries) = libraries() else { return };
    let training = Training::new();
    let cards = |visible: Option<&str>| {
        let mut program = program(libraries);
        program.env("SOFTWARE_CUDA_DEVICES", "4");
        if let Some(visible) = visible {
            program.env("CUDA_VISIBLE_DEVICES", visible);
        }
        program
    };
    let more = [
        "--per_device_train_batch_size",
        "1",
        "--gradient_accumulation_steps",
        "1",
        "--dtype",
        "f32",
    ];
    let first = |output: Output| {
        succeeded(output)
            .lines()
            .take(2)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let all = first(training.train(cards(None), &more));
    assert!(all.contains("cuda (devices 0, 1, 2, 3: "), "{all}");
    assert!(
        all.contains("a step has 4 micro-batches of 1 row: 1 on each of 4 devices"),
        "{all}"
    );
    let visible = first(training.train(cards(Some("2,0")), &more));
    assert!(visible.contains("cuda (devices 0, 1: "), "{visible}");
    let named = first(training.train(
        cards(Some("2,0")),
        &[&more[..], &["--devices", "1"]].concat(),
    ));
    assert!(named.contains("cuda (device 1: "), "{named}");
}

/// Kernels that a process has compiled are there for the next one.
#[test]
fn kernels_are_compiled_once() {
    let Some(libraries) = libraries() else { return };
    let training = Training::new();
    let compiled = |run: &str| {
        let mut program = program(libraries);
        let sources = training.path(run);
        std::fs::create_dir(&sources).unwrap();
        program.env("GLMTUNE_KERNEL_CACHE", training.path("kept"));
        program.env("SOFTWARE_CUDA_KERNELS", &sources);
        succeeded(training.train(program, &["--dtype", "f32"]));
        std::fs::read_dir(&sources).unwrap().count()
    };
    assert!(compiled("first") > 20);
    assert_eq!(compiled("second"), 0);
}

/// What a run copied to the device, and the most that it held there.
struct Counted {
    uploaded: u64,
    peak: u64,
}

impl Training {
    /// A training of some steps with one micro-batch each, counted by the device.
    fn counted(&self, libraries: &Path, steps: u64, flag: &str) -> Counted {
        let trace = self.path("trace.json");
        let mut program = program(libraries);
        // The pages of CubeCL's pools are shares of a device's memory: from 128 MB on, small ones are a sixteenth.
        program.env("SOFTWARE_CUDA_MEMORY", "0.13");
        program.env("SOFTWARE_CUDA_TRACE", &trace);
        let steps = steps.to_string();
        let more = [
            "--per_device_train_batch_size",
            "1",
            "--gradient_accumulation_steps",
            "1",
        ];
        let more = [&more[..], &["--dtype", "f32", "--max_steps", &steps, flag]].concat();
        succeeded(self.train(program, &more));
        let trace = std::fs::read_to_string(trace).unwrap();
        let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
        Counted {
            uploaded: trace["h2d"]["bytes"].as_u64().unwrap(),
            peak: trace["device_peak"].as_u64().unwrap(),
        }
    }

    /// Bytes that one step of LoRA brings to the device if all matrices visit it: those of the blocks twice, for the
    /// forward and the backward pass, the others once.
    fn visiting(&self) -> u64 {
        let matrices = self.matrices();
        matrices
            .map(|(name, bytes)| bytes * if name.contains(".layers.") { 2 } else { 1 })
            .sum()
    }

    /// The model's matrices, and their bytes in the file.
    fn matrices(&self) -> impl Iterator<Item = (String, u64)> {
        let bytes = std::fs::read(self.path("model/model-00001-of-00001.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let matrices = header.tensors().into_iter();
        let matrices = matrices.filter(|(_, info)| info.shape.len() > 1);
        let matrices = matrices.map(|(name, info)| {
            let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
            (name, bytes)
        });
        matrices.collect::<Vec<_>>().into_iter()
    }
}

impl Training {
    /// What a plan has for the device, in bytes.
    fn planned(&self, more: &[&str]) -> u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glmtune"));
        command.args(["inspect", &self.path("model"), "--plan", "--json"]);
        let plan: serde_json::Value =
            serde_json::from_str(&succeeded(command.args(more).output().unwrap())).unwrap();
        let plans = plan.as_object().unwrap().iter();
        let mut plans = plans.filter(|(name, _)| name.starts_with("plan of "));
        let total = &plans.next().unwrap().1["device"]["total"];
        total.as_u64().unwrap_or_else(|| panic!("{plan}"))
    }

    /// What the first device's memory holds at most when a step of that training is launched, computed or not.
    fn launched(&self, libraries: &Path, more: &[&str]) -> u64 {
        let trace = self.path("trace.json");
        let mut program = program(libraries);
        for variable in ["NO_EXECUTION", "READ_ZERO"] {
            program.env(format!("SOFTWARE_CUDA_{variable}"), "1");
        }
        // The card of the plan; arithmetic until the model is loaded.
        program.env("SOFTWARE_CUDA_MEMORY", "4");
        program.env("SOFTWARE_CUDA_DEVICES", "4");
        program.env("SOFTWARE_CUDA_TRIAL", "100000");
        program.env("SOFTWARE_CUDA_TRACE", &trace);
        succeeded(self.train(program, more));
        let trace = std::fs::read_to_string(trace).unwrap();
        let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
        trace["device_peak"].as_u64().unwrap()
    }
}

/// Rows of 512 tokens, and the flags for them.
fn long_rows(training: &Training) -> Vec<&'static str> {
    let rows: String = (0..8)
        .map(|row| {
            let ids: Vec<String> = (0..512)
                .map(|i| ((i + row) % 200 + 3).to_string())
                .collect();
            let ids = ids.join(", ");
            format!("{{\"input_ids\": [{ids}], \"labels\": [{ids}]}}\n")
        })
        .collect();
    std::fs::write(training.path("rows.jsonl"), rows).unwrap();
    let lengths = ["--max_len", "512", "--max_src_len", "500"];
    let batch = [
        "--per_device_train_batch_size",
        "1",
        "--gradient_accumulation_steps",
        "1",
    ];
    [&lengths[..], &batch, &["--dtype", "f32"]].concat()
}

/// What is planned for a GPU is what the pools take of it, within a tenth.
#[test]
fn a_plan_is_what_the_pools_take() {
    let Some(libraries) = libraries() else { return };
    let training = Training::of("100m");
    let rows = long_rows(&training);
    for flag in [
        "--gradient_checkpointing",
        "--no_shuffle",
        "--offload_param",
    ] {
        let more = [&rows[..], &["--devices", "0", flag]].concat();
        let (planned, found) = (training.planned(&more), training.launched(libraries, &more));
        let beside = planned as f64 / found as f64 - 1.0;
        assert!(
            beside.abs() < 0.1,
            "{flag}: {planned} bytes planned, {found} taken"
        );
    }
}

/// Cards that share the weights out hold their part each, and two segments' on a visit; of all that is trained they have
/// state of their part alone.
#[test]
fn a_cards_memory_falls_with_the_number_of_cards() {
    let Some(libraries) = libraries() else { return };
    let training = Training::of("100m");
    let rows = long_rows(&training);
    let file = training.path("stage3.json");
    std::fs::write(&file, r#"{"zero_optimization": {"stage": 3}}"#).unwrap();
    let bytes = training.matrices().map(|(_, bytes)| bytes).sum::<u64>();
    for (method, state) in [("lora", 1), ("all", 3)] {
        let method = ["--train_type", method, "--gradient_checkpointing"];
        let more = |devices: &'static str, shared: bool| {
            let stage: &[&str] = if shared { &["--ds_file", &file] } else { &[] };
            [&rows[..], &method, &["--devices", devices], stage].concat()
        };
        let cases = [("0", false), ("0,1", true), ("0,1,2,3", true)];
        let found = cases.map(|(devices, shared)| {
            let more = more(devices, shared);
            let (planned, found) = (training.planned(&more), training.launched(libraries, &more));
            let beside = planned as f64 / found as f64 - 1.0;
            assert!(
                beside.abs() < 0.1,
                "{method:?} on {devices}: {planned} bytes planned, {found} taken"
            );
            found
        });
        // From half of everything to a quarter.
        let (fallen, expected) = (found[1] - found[2], bytes * state / 4);
        assert!(
            10 * fallen >= 9 * expected,
            "{method:?}: {found:?}, matrices {bytes}"
        );
    }
}

/// Weights in the host's memory visit the device in every pass, and leave it again.
#[test]
fn offloaded_weights_come_and_go() {
    let Some(libraries) = libraries() else { return };
    let training = Training::of("small");
    let plain = training.counted(libraries, 3, "--gradient_checkpointing");
    let short = training.counted(libraries, 1, "--offload_param");
    let long = training.counted(libraries, 3, "--offload_param");
    let step = (long.uploaded - short.uploaded) / 2;
    let expected = training.visiting();
    let beside = step as f64 / expected as f64 - 1.0;
    assert!(
        (0.0..0.05).contains(&beside),
        "{step} bytes a step, {expected} expected"
    );
    assert!(
        plain.uploaded < expected,
        "{} bytes without offloading",
        plain.uploaded
    );
    assert!(
        2 * long.peak < plain.peak,
        "peaks {} and {}",
        long.peak,
        plain.peak
    );
}

/// So much is trained that the cards' gradients meet in many rounds: one begins while others are on their way.
#[test]
fn gradients_of_cards_meet_round_by_round() {
    let Some(libraries) = libraries() else { return };
    let training = Training::of("small");
    let losses = |cards: &str, micro_batches: &str, flag: &str| -> Vec<f64> {
        let mut program = program(libraries);
        program.env("SOFTWARE_CUDA_DEVICES", "2");
        let more = ["--per_device_train_batch_size", "1", "--train_type", "all"];
        let more = [&more[..], &["--gradient_checkpointing", "--dtype", "f32"]].concat();
        let own = [
            "--devices",
            cards,
            "--gradient_accumulation_steps",
            micro_batches,
        ];
        let flags: Vec<&str> = flag.split_whitespace().collect();
        succeeded(training.train(program, &[&more[..], &own, &flags[..]].concat()));
        let text = std::fs::read_to_string(training.path("out/metrics.jsonl")).unwrap();
        let lines = text.lines();
        let steps = lines.map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
        let numbers = steps.flat_map(|step| ["loss", "grad_norm"].map(|name| step[name].clone()));
        numbers.map(|number| number.as_f64().unwrap()).collect()
    };
    let one = losses("0", "2", "");
    assert_eq!(one.len(), 4);
    for flag in ["", "--offload_optimizer"] {
        let two = losses("0,1", "1", flag);
        assert_eq!(two.len(), one.len());
        for (a, b) in two.iter().zip(&one) {
            assert!((a - b).abs() <= 1e-3 * b, "{flag}: {two:?} {one:?}");
        }
    }
}

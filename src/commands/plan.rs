//! What is said of a training before it starts: trained parameters, memory, and flags that lower it.

use burn::tensor::DType;
use glmtune_model::ModelConfig;
use glmtune_model::parameters::ParameterInfo;
use glmtune_training::plan::{MemoryPlan, Parts, Saving, Workload, plan};
use glmtune_training::settings::{Method, TrainSettings};

use super::error::Result;
use super::report::Report;
use super::session::type_name;

/// A flag is worth naming if it lowers the device's memory at least by this share.
const WORTH_NAMING: f64 = 0.03;

/// A model, as far as a plan needs it.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// Its configuration.
    pub config: &'a ModelConfig,
    /// Its parameters.
    pub parameters: &'a [ParameterInfo],
}

/// One training.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is trained.
    pub method: Method,
    /// Type of the frozen weights and of the activations.
    pub dtype: DType,
    /// Rows of a micro-batch.
    pub batch: usize,
    /// Tokens of the longest sequence: of the longest row, unless rows are packed.
    pub length: usize,
    /// Those of them that have a target.
    pub targets: usize,
    /// Whether rows are packed.
    pub packing: bool,
    /// Processes that train together.
    pub processes: usize,
    /// Devices of a process.
    pub devices: usize,
    /// Whether a step has several micro-batches of a device.
    pub accumulates: bool,
    /// What saves memory.
    pub saving: Saving,
}

impl Case {
    /// The training of some settings on one device, whose longest sequence has so many tokens and targets.
    pub fn of(settings: &TrainSettings, length: usize, targets: usize) -> Self {
        Self {
            method: settings.method.clone(),
            dtype: settings.dtype.into(),
            batch: settings.per_device_train_batch_size,
            length,
            targets,
            packing: settings.packing,
            processes: 1,
            devices: 1,
            accumulates: settings.gradient_accumulation_steps > 1,
            saving: Saving {
                gradient_checkpointing: settings.gradient_checkpointing,
                offload_optimizer: settings.offload_optimizer,
                offload_param: settings.offload_param,
                shard_param: settings.shard_param,
            },
        }
    }

    /// Method and type.
    pub fn title(&self) -> String {
        let method = self.method.title();
        format!("{method}, {}", type_name(self.dtype))
    }
}

impl Planned<'_> {
    /// The memory that a training takes.
    pub fn plan(&self, case: &Case, on_cpu: bool) -> Result<MemoryPlan> {
        Ok(plan(&Workload {
            config: self.config,
            parameters: self.parameters,
            method: &case.method,
            batch: case.batch,
            length: case.length,
            targets: case.targets,
            dtype: case.dtype,
            processes: case.processes,
            devices: case.devices,
            accumulates: case.accumulates,
            on_cpu,
            saving: case.saving,
        })?)
    }

    /// Trained parameters and their share.
    pub fn trained(&self, case: &Case) -> Result<Report> {
        let found = self.plan(case, true)?;
        Ok(Report::Share(found.trained, found.parameters))
    }

    /// On a GPU the memories of device and host, and that of a CPU.
    pub fn brief(&self, case: &Case) -> Result<Report> {
        let (gpu, cpu) = (self.plan(case, false)?, self.plan(case, true)?);
        Ok(Report::new()
            .with("device", Report::Bytes(gpu.device.total()))
            .with("host", Report::Bytes(gpu.host.total() + gpu.program))
            .with("on the CPU", Report::Bytes(cpu.total() + cpu.program)))
    }

    /// Every part, and what would lower it.
    pub fn details(&self, case: &Case) -> Result<Report> {
        let (gpu, cpu) = (self.plan(case, false)?, self.plan(case, true)?);
        let length = match case.packing {
            true => "packed sequence",
            false => "longest row",
        };
        let mut report = Report::new()
            .with("batch", case.batch)
            .with(length, case.length);
        if case.processes > 1 {
            let each = match case.saving.shard_param {
                true => "which share out weights, masters and moments; what follows is of each",
                false => "which share out masters and moments; what follows is of each",
            };
            report.add("processes", format!("{}, {each}", case.processes));
        } else if case.devices > 1 && case.saving.shard_param {
            let each = "which share out weights, masters and moments; what follows is of each";
            report.add("devices", format!("{}, {each}", case.devices));
        }
        Ok(report
            .with("trained parameters", self.trained(case)?)
            .with("device", parts(&gpu.device, 0))
            .with("host", parts(&gpu.host, gpu.program))
            .with("on the CPU", parts(&cpu.device.plus(cpu.host), cpu.program))
            .with("what would lower the device's", self.advice(case, &gpu)?))
    }

    /// Flags that lower the device's memory, each by itself.
    fn advice(&self, case: &Case, now: &MemoryPlan) -> Result<Report> {
        let saving = case.saving;
        let mut others: Vec<(&str, Case)> = Vec::new();
        let mut offer = |is_new: bool, flag: &'static str, change: &dyn Fn(&mut Case)| {
            if is_new {
                let mut other = case.clone();
                change(&mut other);
                others.push((flag, other));
            }
        };
        let checkpointing = !saving.gradient_checkpointing;
        offer(checkpointing, "--gradient_checkpointing", &|case| {
            case.saving.gradient_checkpointing = true;
        });
        offer(!saving.offload_optimizer, "--offload_optimizer", &|case| {
            case.saving.offload_optimizer = true;
        });
        offer(!saving.offload_param, "--offload_param", &|case| {
            case.saving.offload_param = true;
        });
        offer(case.dtype == DType::F32, "--dtype bf16", &|case| {
            case.dtype = DType::BF16;
        });
        offer(case.batch > 1, "--per_device_train_batch_size 1", &|case| {
            case.batch = 1;
        });
        let before = now.device.total();
        let mut told = Report::new();
        for (flag, other) in others {
            let after = self.plan(&other, false)?;
            let saved = 1.0 - after.device.total() as f64 / before as f64;
            if saved >= WORTH_NAMING {
                let sizes = Report::new()
                    .with("device", Report::Bytes(after.device.total()))
                    .with("host", Report::Bytes(after.host.total() + after.program));
                told.add(flag, sizes);
            }
        }
        Ok(told)
    }
}

fn parts(parts: &Parts, program: u64) -> Report {
    Report::Sum(vec![
        ("weights", parts.weights),
        ("masters", parts.masters),
        ("moments", parts.moments),
        ("gradients", parts.gradients),
        ("activations", parts.activations),
        ("logits", parts.logits),
        ("pages", parts.pages),
        ("program", program),
    ])
}

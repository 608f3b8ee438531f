//! What `glmtune inspect` says about a training: trained parameters, memory, and flags that lower it.

use burn::tensor::DType;
use glmtune_model::ModelConfig;
use glmtune_model::parameters::ParameterInfo;
use glmtune_training::plan::{Parts, Plan, Saving, Workload, plan};
use glmtune_training::settings::Method;
use serde_json::{Map, Value, json};

use super::output::{grouped, human_bytes};
use super::session::type_name;
use crate::cli::{PlanArgs, TrainType};

/// A flag is worth naming if it lowers the device's memory at least by this share.
const WORTH_NAMING: f64 = 0.03;

/// The trainings that the flags describe, for one model.
pub struct Plans<'a> {
    /// The flags.
    pub args: &'a PlanArgs,
    /// The model.
    pub config: &'a ModelConfig,
    /// Its parameters.
    pub parameters: &'a [ParameterInfo],
}

/// One training.
#[derive(Clone)]
struct Case {
    name: &'static str,
    method: Method,
    dtype: DType,
    batch: usize,
    saving: Saving,
}

impl Plans<'_> {
    /// Trained parameters and their share, by method.
    pub fn trainable(&self) -> Value {
        let entries = self.methods().into_iter().map(|(name, method)| {
            let found = self.plan(&self.case(name, method, DType::F32), true);
            let share = 100.0 * found.trained as f64 / found.parameters.max(1) as f64;
            let text = format!("{} ({share:.4} %)", grouped(found.trained as usize));
            (name.to_string(), json!(text))
        });
        Value::Object(entries.collect())
    }

    /// A line per method and type: on a GPU the memories of device and host, and that of a CPU.
    pub fn overview(&self) -> Value {
        let mut report = Map::new();
        for case in self.cases() {
            let (gpu, cpu) = (self.plan(&case, false), self.plan(&case, true));
            let text = format!(
                "device {} + host {}; on the CPU {}",
                size(gpu.device.total()),
                size(gpu.host.total()),
                size(cpu.total() + cpu.program)
            );
            report.insert(title(&case), json!(text));
        }
        Value::Object(report)
    }

    /// Every part in bytes, and what would lower it.
    pub fn details(&self) -> Value {
        let mut report = Map::new();
        for case in self.cases() {
            let (gpu, cpu) = (self.plan(&case, false), self.plan(&case, true));
            let details = json!({
                "device": parts(&gpu.device),
                "host": parts(&gpu.host),
                "on the CPU": format!(
                    "{} with the program's {}",
                    parts(&cpu.device.plus(cpu.host)),
                    size(cpu.program)
                ),
                "bytes": {
                    "device": gpu.device.total(),
                    "host": gpu.host.total() + gpu.program,
                    "on the CPU": cpu.total() + cpu.program,
                },
                "what would lower the device's": self.advice(&case, &gpu),
            });
            report.insert(title(&case), details);
        }
        Value::Object(report)
    }

    /// Flags that lower the device's memory, each by itself.
    fn advice(&self, case: &Case, now: &Plan) -> Value {
        let saving = case.saving;
        let mut others: Vec<(&str, Case)> = Vec::new();
        let mut offer = |is_new: bool, flag: &'static str, change: &dyn Fn(&mut Case)| {
            if is_new {
                let mut other = case.clone();
                change(&mut other);
                others.push((flag, other));
            }
        };
        offer(
            !saving.gradient_checkpointing,
            "--gradient_checkpointing",
            &|case| {
                case.saving.gradient_checkpointing = true;
            },
        );
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
            case.batch = 1
        });
        let before = now.device.total();
        let told = others.into_iter().filter_map(|(flag, other)| {
            let after = self.plan(&other, false);
            let saved = 1.0 - after.device.total() as f64 / before as f64;
            (saved >= WORTH_NAMING).then(|| {
                let text = format!(
                    "device {}, host {}",
                    size(after.device.total()),
                    size(after.host.total())
                );
                (flag.to_string(), json!(text))
            })
        });
        Value::Object(told.collect())
    }

    fn plan(&self, case: &Case, on_cpu: bool) -> Plan {
        let args = self.args;
        plan(&Workload {
            config: self.config,
            parameters: self.parameters,
            method: &case.method,
            batch: case.batch,
            length: args.max_len,
            targets: args.max_len.saturating_sub(args.max_src_len.unwrap_or(0)),
            dtype: case.dtype,
            accumulates: args.gradient_accumulation_steps > 1,
            on_cpu,
            saving: case.saving,
        })
    }

    fn case(&self, name: &'static str, method: Method, dtype: DType) -> Case {
        Case {
            name,
            method,
            dtype,
            batch: self.args.per_device_train_batch_size,
            saving: Saving {
                gradient_checkpointing: self.args.gradient_checkpointing,
                offload_optimizer: self.args.offload_optimizer,
                offload_param: self.args.offload_param,
            },
        }
    }

    fn cases(&self) -> Vec<Case> {
        let dtypes: Vec<DType> = match self.args.dtype {
            Some(precision) => vec![precision.into()],
            None => vec![DType::BF16, DType::F32],
        };
        let methods = self.methods().into_iter();
        methods
            .flat_map(|(name, method)| {
                dtypes
                    .iter()
                    .map(move |&dtype| self.case(name, method.clone(), dtype))
            })
            .collect()
    }

    /// The methods with the settings of the command line.
    fn methods(&self) -> Vec<(&'static str, Method)> {
        let is_wanted = |kind: TrainType| self.args.train_type.is_none_or(|wanted| wanted == kind);
        let mut methods = Vec::new();
        if is_wanted(TrainType::Freeze) {
            methods.push(("freeze", self.freeze()));
        }
        if is_wanted(TrainType::Ptuning) {
            let both = [("ptuning", false), ("ptuning with projection", true)];
            let wanted = self.args.prefix_projection;
            let chosen = both
                .into_iter()
                .filter(|(_, projection)| wanted.is_none_or(|w| w == *projection));
            methods.extend(chosen.map(|(name, projection)| (name, self.ptuning(projection))));
        }
        if is_wanted(TrainType::Lora) {
            methods.push(("lora", self.lora()));
        }
        if is_wanted(TrainType::All) {
            methods.push(("all", Method::All));
        }
        methods
    }

    fn freeze(&self) -> Method {
        let layers = self.config.common().num_layers;
        let last = (layers.saturating_sub(4)..layers).map(|layer| format!("layers.{layer}."));
        Method::Freeze {
            freeze_module_name: match self.args.freeze_module_name.is_empty() {
                true => last.collect(),
                false => self.args.freeze_module_name.clone(),
            },
        }
    }

    fn ptuning(&self, prefix_projection: bool) -> Method {
        Method::Ptuning {
            pre_seq_len: self.args.pre_seq_len,
            prefix_projection,
            prefix_dropout: 0.1,
        }
    }

    fn lora(&self) -> Method {
        Method::Lora {
            lora_dim: self.args.lora_dim,
            lora_alpha: 1.0,
            lora_dropout: self.args.lora_dropout,
            lora_module_name: self.args.lora_module_name.clone(),
        }
    }
}

fn title(case: &Case) -> String {
    format!("{}, {}", case.name, type_name(case.dtype))
}

fn size(bytes: u64) -> String {
    human_bytes(bytes as f64)
}

fn parts(parts: &Parts) -> String {
    let named = [
        ("weights", parts.weights),
        ("masters", parts.masters),
        ("moments", parts.moments),
        ("gradients", parts.gradients),
        ("activations", parts.activations),
        ("logits", parts.logits),
    ];
    let there = named.into_iter().filter(|(_, bytes)| *bytes > 0);
    let there: Vec<String> = there
        .map(|(name, bytes)| format!("{name} {}", size(bytes)))
        .collect();
    match there.is_empty() {
        true => size(0),
        false => format!("{} = {}", size(parts.total()), there.join(" + ")),
    }
}

//! The settings of a training, typed and checked before anything is loaded.

use std::fmt;

use glmtune_model::FloatType;
use glmtune_model::adapters::{AdapterSettings, LoraSettings, PrefixSettings};
use glmtune_model::rows::LayoutLimits;
use glmtune_model::tokenizer::Mode;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::optim::AdamWSettings;
use crate::precision::LossScaleSettings;
use crate::schedule::{Decay, Warmup, WarmupDecay};
use crate::validation::{HoldOut, ValidationSettings};

/// Most tokens of a row, where nothing else is asked for.
const MAX_LEN: usize = 1024;

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "train_type", rename_all = "lowercase")]
pub enum Method {
    /// The parameters whose path contains one of some parts.
    Freeze {
        /// The parts.
        freeze_module_name: Vec<String>,
    },
    /// Every parameter.
    All,
    /// An adapter beside the base model.
    #[serde(untagged)]
    Adapter(AdapterSettings),
}

impl From<AdapterSettings> for Method {
    fn from(settings: AdapterSettings) -> Self {
        Self::Adapter(settings)
    }
}

impl Method {
    /// Low-rank adapters of the given rank beside the attention's `query_key_value`, with the scale and the dropout of
    /// the Python ancestor.
    pub fn lora(lora_dim: usize) -> Self {
        AdapterSettings::Lora(LoraSettings {
            rank: lora_dim,
            ..LoraSettings::default()
        })
        .into()
    }

    /// A prefix of so many positions, with its MLP.
    pub fn ptuning(pre_seq_len: usize) -> Self {
        AdapterSettings::Prefix(PrefixSettings {
            pre_seq_len,
            ..PrefixSettings::default()
        })
        .into()
    }

    /// The name of the method on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Freeze { .. } => "freeze",
            Self::Adapter(settings) => settings.kind().name(),
            Self::All => "all",
        }
    }

    /// The name, with what tells the method from others of that name.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Adapter(settings) => settings.title(),
            Self::Freeze { .. } | Self::All => self.name(),
        }
    }

    /// The settings of the adapter that is trained, if it is one.
    pub fn adapter(&self) -> Option<&AdapterSettings> {
        match self {
            Self::Adapter(settings) => Some(settings),
            Self::Freeze { .. } | Self::All => None,
        }
    }

    /// Whether what is trained is a small file beside the base model.
    pub fn is_adapter(&self) -> bool {
        self.adapter().is_some()
    }

    /// Whether a parameter of a model, with the adapter if there is one, is trained.
    pub fn trains(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Freeze { freeze_module_name } => {
                let mut parts = freeze_module_name.iter();
                parts.any(|part| path.contains(part.as_str()))
            }
            Self::Adapter(settings) => settings.kind().owns(path),
        }
    }

    fn faults(&self) -> Vec<String> {
        match self {
            Self::Freeze { freeze_module_name } if freeze_module_name.is_empty() => {
                vec!["freeze_module_name names nothing".to_string()]
            }
            Self::Adapter(settings) => settings.faults(),
            Self::Freeze { .. } | Self::All => Vec::new(),
        }
    }
}

/// What happens at a loss or gradient that is not a number or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    /// The step changes nothing, and the run goes on.
    Skip,
    /// The run ends with an error that names the step and the rows.
    Stop,
}

/// The settings of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainSettings {
    /// Prompt and row format.
    #[serde(serialize_with = "as_text")]
    pub mode: Mode,
    /// What is trained, and how.
    #[serde(flatten)]
    pub method: Method,
    /// Limits of a row.
    pub limits: LayoutLimits,
    /// Whether rows that would be truncated are dropped.
    pub is_skip: bool,
    /// Sequences of a micro-batch: rows, or packed ones.
    pub per_device_train_batch_size: usize,
    /// Micro-batches of an optimizer step on each device.
    pub gradient_accumulation_steps: usize,
    /// Devices that share out the micro-batches of a step.
    pub data_parallel: usize,
    /// Stages of a pipeline that the blocks are dealt out to; 1 for none.
    pub pipeline_stages: usize,
    /// Passes over the rows.
    pub num_train_epochs: usize,
    /// Optimizer steps after which the run ends early.
    pub max_steps: Option<u64>,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Where the learning rate starts and ends; by default a tenth of the highest.
    pub min_learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises.
    pub warmup_ratio: f64,
    /// Steps in which the learning rate rises, instead of a share.
    pub warmup_steps: Option<u64>,
    /// How the learning rate rises.
    pub warmup: Warmup,
    /// What the learning rate does then.
    pub decay: Decay,
    /// Steps of the schedule, where they are not to follow from rows and epochs.
    pub schedule_steps: Option<u64>,
    /// Settings of AdamW.
    pub optimizer: AdamWSettings,
    /// Largest global norm of the gradients; larger ones are scaled down to it. None: no clipping.
    pub max_grad_norm: Option<f64>,
    /// How the loss is scaled where activations are in half precision.
    pub loss_scale: Option<LossScaleSettings>,
    /// Seed of the order of rows, of new adapters and of dropout.
    pub seed: u64,
    /// Whether the rows are shuffled in every epoch.
    pub shuffle: bool,
    /// Whether the longest row comes first, so that memory that is short runs out at once.
    pub longest_first: bool,
    /// Whether several rows share a sequence of up to the most tokens of a row.
    #[serde(skip_serializing_if = "is_off")]
    pub packing: bool,
    /// Whether micro-batches are made of rows of like length.
    #[serde(skip_serializing_if = "is_off")]
    pub group_by_length: bool,
    /// Whether the optimizer's state and the float32 masters are in the host's memory.
    pub offload_optimizer: bool,
    /// Whether the base model's matrices are in the host's memory and visit the device.
    pub offload_param: bool,
    /// Whether the base model's matrices are shared out, each of several processes keeping a part in its host's memory,
    /// or each of several devices of one process a part of its own: a segment's come to the device in its turn.
    pub shard_param: bool,
    /// Whether blocks run again in the backward pass instead of keeping their activations.
    pub gradient_checkpointing: bool,
    /// Type of the frozen weights and of the activations.
    #[serde(serialize_with = "as_text")]
    pub dtype: FloatType,
    /// What happens at a non-finite loss.
    pub on_nan: OnNan,
    /// Steps between two lines of progress.
    pub show_loss_step: u64,
    /// Steps between two saved outputs, beside those at the ends of epochs.
    pub save_model_step: Option<u64>,
    /// Outputs that are kept; older ones are removed.
    pub save_total_limit: Option<usize>,
    /// Rows that were held out of those to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_size: Option<HoldOut>,
    /// When the model is measured on rows that are held out, and what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationSettings>,
}

/// Settings that a resumed run may change: they do not change the trajectory of the training.
const FREE: [&str; 13] = [
    "data_parallel",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "max_steps",
    // Where masters and moments are; what they are is the same everywhere.
    "offload_optimizer",
    "offload_param",
    "on_nan",
    "pipeline_stages",
    "save_model_step",
    "save_total_limit",
    "shard_param",
    "show_loss_step",
    // Measuring changes nothing but the end.
    "validation",
];

impl TrainSettings {
    /// The defaults, in float32: those of the command line, which are the Python ancestor's.
    pub fn new(mode: Mode, method: Method) -> Self {
        Self {
            mode,
            method,
            limits: LayoutLimits::new(mode, MAX_LEN, None),
            is_skip: false,
            per_device_train_batch_size: 16,
            gradient_accumulation_steps: 1,
            data_parallel: 1,
            pipeline_stages: 1,
            num_train_epochs: 1,
            max_steps: None,
            learning_rate: 1e-3,
            min_learning_rate: None,
            warmup_ratio: 0.1,
            warmup_steps: None,
            warmup: Warmup::default(),
            decay: Decay::default(),
            schedule_steps: None,
            optimizer: AdamWSettings::default(),
            max_grad_norm: Some(1.0),
            loss_scale: None,
            seed: 1234,
            shuffle: true,
            longest_first: false,
            packing: false,
            group_by_length: false,
            offload_optimizer: false,
            offload_param: false,
            shard_param: false,
            gradient_checkpointing: false,
            dtype: FloatType::F32,
            on_nan: OnNan::Stop,
            show_loss_step: 10,
            save_model_step: None,
            save_total_limit: None,
            val_size: None,
            validation: None,
        }
    }

    /// What follows from the settings for so many devices of each process and so many processes: how many share
    /// out the micro-batches, where the optimizer is, and whether the loss is scaled.
    #[must_use]
    pub fn resolved(mut self, devices: usize, processes: usize) -> Self {
        self.data_parallel = match self.pipeline_stages {
            1 => processes * devices,
            _ => processes,
        };
        // The devices of one process have only one copy in the host's memory as it is.
        self.shard_param &= processes > 1 || (devices > 1 && !self.offload_param);
        let trains_offloaded = self.offload_param && !self.method.is_adapter();
        // Several processes share out the state that is in their hosts' memory, and weights that live there
        // are updated there.
        self.offload_optimizer |= processes > 1 || trains_offloaded;
        self.loss_scale = match self.dtype {
            FloatType::F16 => Some(self.loss_scale.unwrap_or_default()),
            FloatType::F32 | FloatType::Bf16 => None,
        };
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Request`] with all faults.
    pub fn validate(&self) -> Result<()> {
        let mut faults = self.method.faults();
        if let Err(error) = self.limits.validate(self.mode) {
            faults.push(error.to_string());
        }
        let more = [
            at_least(
                "per_device_train_batch_size",
                self.per_device_train_batch_size,
                1,
            ),
            at_least(
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps,
                1,
            ),
            at_least("num_train_epochs", self.num_train_epochs, 1),
            not_negative("learning_rate", self.learning_rate),
            self.max_grad_norm
                .and_then(|norm| positive("max_grad_norm", norm)),
            (self.packing && self.group_by_length).then(|| {
                "packing and group_by_length exclude each other: packed sequences are of like length already"
                    .to_string()
            }),
            (!(0.0..=1.0).contains(&self.warmup_ratio))
                .then(|| format!("warmup_ratio is {}, must be 0 to 1", self.warmup_ratio)),
            counts("show_loss_step", Some(self.show_loss_step)),
            counts("save_model_step", self.save_model_step),
            counts("max_steps", self.max_steps),
            counts(
                "save_total_limit",
                self.save_total_limit.map(|limit| limit as u64),
            ),
        ];
        faults.extend(more.into_iter().flatten());
        faults.extend(self.optimizer.faults());
        faults.extend(self.validation.iter().flat_map(ValidationSettings::faults));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Request(faults.join("\n  "))),
        }
    }

    /// Micro-batches of an optimizer step on all devices together.
    pub fn window(&self) -> usize {
        self.gradient_accumulation_steps * self.data_parallel.max(1)
    }

    /// Steps of all epochs on a number of sequences, which are rows unless they are packed: a last partial window counts.
    pub fn total_steps(&self, sequences: usize) -> u64 {
        let batches = sequences.div_ceil(self.per_device_train_batch_size);
        let per_epoch = batches.div_ceil(self.window());
        (per_epoch * self.num_train_epochs) as u64
    }

    /// The learning rates of a training on a number of sequences.
    pub fn schedule(&self, sequences: usize) -> WarmupDecay {
        let total_steps = self.schedule_steps.unwrap_or(self.total_steps(sequences));
        let share = (self.warmup_ratio * total_steps as f64) as u64;
        WarmupDecay {
            min: self.min_learning_rate.unwrap_or(self.learning_rate / 10.0),
            max: self.learning_rate,
            warmup_steps: self.warmup_steps.unwrap_or(share),
            total_steps,
            warmup: self.warmup,
            decay: self.decay,
        }
    }

    /// Whether blocks run again in the backward pass: the graph of a plain pass would hold the weights of all
    /// blocks that visit the device at once.
    pub fn recomputes(&self) -> bool {
        self.gradient_checkpointing || self.weights_visit()
    }

    /// Whether the base model's matrices are elsewhere, and visit the device.
    pub fn weights_visit(&self) -> bool {
        self.offload_param || self.shard_param
    }

    /// The settings that determine the trajectory of a training, by name.
    pub fn trajectory_settings(&self) -> Map<String, Value> {
        let mut map = self.to_map();
        map.retain(|name, _| !FREE.contains(&name.as_str()));
        // How many take part may change, as long as a step has the same micro-batches.
        map.insert("micro_batches_per_step".to_string(), self.window().into());
        map
    }

    /// All settings by name.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // A struct of plain values becomes an object.
            _ => Map::new(),
        }
    }
}

/// Checks that a pipeline has as many devices as stages, or one for all.
///
/// # Errors
/// If it has another number.
pub fn check_stages(stages: usize, devices: usize) -> Result<()> {
    match stages == 0 || (stages > 1 && devices > 1 && devices != stages) {
        true => Err(Error::Request(format!(
            "--pipeline_stages is {stages} and --devices names {devices}; give as many devices as stages, \
             or one"
        ))),
        false => Ok(()),
    }
}

/// What is off is as if it had never been a setting: checkpoints from before it go on.
fn is_off(flag: &bool) -> bool {
    !flag
}

/// Checks that each of several processes that share out weights has one device, whose threads would bring them together
/// in an order of their own, and that no pipeline is to deal the blocks out.
///
/// # Errors
/// If it has several devices, or stages.
pub fn check_shards(settings: &TrainSettings, devices: usize, processes: usize) -> Result<()> {
    let fault = match () {
        () if !settings.shard_param => return Ok(()),
        () if settings.pipeline_stages > 1 => {
            "shares each weight out, and --pipeline_stages deals whole blocks out: leave one of them out, or use stage 2"
                .to_string()
        }
        () if processes > 1 && devices > 1 => format!(
            "shares the weights out to processes with one device each, and this one has {devices}: start a process for \
             each card, or one for all of them, or use stage 2"
        ),
        () => return Ok(()),
    };
    Err(Error::Request(format!("zero_optimization.stage 3 {fault}")))
}

fn as_text<S: serde::Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn at_least(name: &str, value: usize, least: usize) -> Option<String> {
    (value < least).then(|| format!("{name} is {value}, must be at least {least}"))
}

fn counts(name: &str, value: Option<u64>) -> Option<String> {
    (value == Some(0)).then(|| format!("{name} is 0, must be at least 1"))
}

fn positive(name: &str, value: f64) -> Option<String> {
    let valid = value > 0.0 && value.is_finite();
    (!valid).then(|| format!("{name} is {value}, must be a positive number"))
}

fn not_negative(name: &str, value: f64) -> Option<String> {
    let valid = value >= 0.0 && value.is_finite();
    (!valid).then(|| format!("{name} is {value}, must be 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_processes_decide_what_follows_from_them() {
        let lora = TrainSettings::new(Mode::Glm2, Method::lora(8));
        assert_eq!(lora.clone().resolved(1, 1), lora);
        let several = lora.clone().resolved(3, 2);
        assert_eq!(
            (several.data_parallel, several.offload_optimizer),
            (6, true)
        );
        let pipeline = TrainSettings {
            pipeline_stages: 3,
            ..lora.clone()
        };
        assert_eq!(pipeline.resolved(3, 2).data_parallel, 2);
        let half = TrainSettings {
            dtype: FloatType::F16,
            ..lora.clone()
        };
        assert!(half.resolved(1, 1).loss_scale.is_some());
        let offloaded = |method| TrainSettings {
            offload_param: true,
            ..TrainSettings::new(Mode::Glm2, method)
        };
        assert!(!offloaded(Method::lora(8)).resolved(1, 1).offload_optimizer);
        let all = offloaded(Method::All).resolved(1, 1);
        assert!(all.offload_optimizer && all.recomputes());
        let sharded = TrainSettings {
            shard_param: true,
            ..lora.clone()
        };
        assert!(!sharded.clone().resolved(1, 1).shard_param);
        let on_cards = sharded.clone().resolved(4, 1);
        assert!(on_cards.shard_param && on_cards.recomputes() && !on_cards.offload_optimizer);
        let in_host = TrainSettings {
            offload_param: true,
            ..sharded.clone()
        };
        assert!(!in_host.resolved(4, 1).shard_param);
        let sharded = sharded.resolved(1, 4);
        assert!(sharded.shard_param && sharded.recomputes() && !sharded.offload_param);
        // Once more changes nothing.
        assert_eq!(sharded.clone().resolved(1, 4), sharded);
        assert_eq!(all.clone().resolved(1, 1), all);
    }

    #[test]
    fn what_shares_weights_out_is_checked() {
        let settings = |pipeline_stages| TrainSettings {
            shard_param: true,
            pipeline_stages,
            ..TrainSettings::new(Mode::Glm2, Method::lora(8))
        };
        for (devices, processes, holds) in [(4, 1, true), (1, 4, true), (2, 2, false)] {
            let found = check_shards(&settings(1), devices, processes);
            assert_eq!(found.is_ok(), holds);
            assert!(check_shards(&settings(2), devices, processes).is_err());
        }
    }

    #[test]
    fn a_pipeline_has_a_device_for_each_stage_or_one() {
        for (stages, devices) in [(1, 1), (1, 4), (3, 1), (3, 3)] {
            assert!(check_stages(stages, devices).is_ok());
        }
        for (stages, devices) in [(0, 1), (3, 2)] {
            assert!(check_stages(stages, devices).is_err());
        }
    }
}

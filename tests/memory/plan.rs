//! The planner's figures against what the allocator counts.

use std::path::Path;

use burn::tensor::DType;
use burn_flex::{Flex, FlexDevice};
use glmtune::model::adapters::{
    AdapterMeta, AdapterSettings, FileFormat, LoraSettings, PrefixSettings,
};
use glmtune::model::config::ModelConfig;
use glmtune::model::host_weights::HostWeights;
use glmtune::model::layers::DropoutSource;
use glmtune::model::parameters::parameters;
use glmtune::model::{BuildOptions, CausalLm};
use glmtune::training::backward::{Activations, GradientBoundary};
use glmtune::training::method::Masters;
use glmtune::training::micro_batch::MicroBatch;
use glmtune::training::optim::{AdamW, AdamWSettings, OffloadedAdamW, Optimizer, Update, apply};
use glmtune::training::parallel::WindowItem;
use glmtune::training::parallel::devices::data::GradientPass;
use glmtune::training::parallel::devices::replicas::Replicas;
use glmtune::training::parallel::processes::ranks::ProcessGroup;
use glmtune::training::plan::{MemoryPlan, Saving, Workload, plan};
use glmtune::training::saving::{Outputs, RunId};
use glmtune::training::settings::Method;
use glmtune::training::weights::Weights;
use glmtune::training::window::{WindowPlan, window};

use super::{allocator, prepared_as};

/// A model, its batch, and what saves memory.
#[derive(Debug)]
struct Case {
    /// `config.json`.
    config: String,
    method: Method,
    dtype: DType,
    length: usize,
    targets: usize,
    micro_batches: usize,
    saving: Saving,
}

impl Case {
    fn config(&self) -> ModelConfig {
        ModelConfig::from_json(&self.config, Path::new("config.json")).unwrap()
    }

    fn planned(&self) -> MemoryPlan {
        let (config, options) = (self.config(), BuildOptions::float32());
        let model = CausalLm::<Flex>::uninitialized(&config, &options, &FlexDevice);
        plan(&Workload {
            config: &config,
            parameters: &parameters(&model),
            method: &self.method,
            batch: 1,
            length: self.length,
            targets: self.targets,
            dtype: self.dtype,
            processes: 1,
            devices: 1,
            accumulates: self.micro_batches > 1,
            on_cpu: true,
            saving: self.saving,
        })
        .unwrap()
    }

    fn item(&self) -> WindowItem {
        let mut ids: Vec<u32> = (0..self.length as u32).map(|at| at * 31 % 100).collect();
        if let ModelConfig::ChatGlm(config) = &self.config() {
            (ids[0], ids[1]) = (config.gmask_token_id, config.bos_token_id);
        }
        let mut labels = vec![-100; self.length - self.targets];
        labels.extend(
            &ids[labels.len()..]
                .iter()
                .map(|&id| i64::from(id))
                .collect::<Vec<_>>(),
        );
        WindowItem {
            batch: MicroBatch::new(vec![ids], vec![labels], 0),
            dropout: DropoutSource::new(1, 1),
        }
    }

    /// The most that two steps and writing the output hold, the model included.
    fn measured(&self) -> usize {
        let items = vec![self.item(); self.micro_batches];
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), &self.config).unwrap();
        // The first run also fills what threads keep for themselves.
        self.steps(&items, dir.path());
        allocator::peak_of(|| self.steps(&items, dir.path()))
    }

    fn steps(&self, items: &[WindowItem], dir: &Path) {
        let offloads = self.saving.offload_optimizer;
        let masters = match offloads {
            true => Masters::WithOptimizer,
            false => Masters::InModel,
        };
        let prepared = prepared_as(self.config(), &self.method, self.dtype, masters);
        let trained = prepared.trainable.iter().map(|info| info.path.as_str());
        let boundary = GradientBoundary::of(prepared.model.segments(), trained).unwrap();
        let settings = AdamWSettings::default();
        let mut optimizer: Box<dyn Optimizer<Flex>> = match offloads {
            true => Box::new(OffloadedAdamW::new(settings, ProcessGroup::default())),
            false => Box::new(AdamW::new(settings)),
        };
        let activations = match self.saving.gradient_checkpointing {
            true => Activations::Recomputed(boundary),
            false => Activations::Kept,
        };
        let (mut model, mut host) = (prepared.model, HostWeights::default());
        for number in 1..=2 {
            let plan = WindowPlan {
                pass: GradientPass {
                    activations,
                    scale: 1.0,
                    to_host: offloads,
                },
                devices: &[FlexDevice],
                replicas: &Replicas::default(),
                stages: None,
                boundary,
            };
            let (sum, _) = window(&model, items, &plan).unwrap();
            let update = Update {
                lr: 1e-3,
                number,
                grad_scale: 1.0,
            };
            model = apply(sum.gradients, model, &mut host, optimizer.as_mut(), update).unwrap();
        }
        let outputs = Outputs {
            dir: dir.join("out"),
            run: RunId::new(),
            base: dir.to_path_buf(),
            kind: prepared.output,
            meta: AdapterMeta::default(),
            dtype: self.dtype,
            format: FileFormat::default(),
            with_tokenizer: false,
            max_shard_size: 1 << 30,
            limit: None,
        };
        let weights = Weights::new(&model, optimizer.as_ref(), &host);
        outputs.save(1, 2, None, &weights).unwrap();
    }
}

fn chatglm() -> String {
    r#"{"model_type": "chatglm", "vocab_size": 3000, "num_layers": 4, "hidden_size": 128,
            "inner_hidden_size": 512, "num_attention_heads": 4, "layernorm_epsilon": 1e-5,
            "max_sequence_length": 2048, "position_encoding_2d": true, "bos_token_id": 104,
            "eos_token_id": 105, "mask_token_id": 101, "gmask_token_id": 103, "pad_token_id": 3}"#
        .to_string()
}

fn chatglm2() -> String {
    chatglm2_of(5, 5_000)
}

/// A vocabulary whose logits come in several chunks.
fn wide() -> String {
    chatglm2_of(1, 40_000)
}

fn chatglm2_of(layers: usize, vocabulary: usize) -> String {
    format!(
        r#"{{"model_type": "chatglm", "padded_vocab_size": {vocabulary}, "num_layers": {layers}, "hidden_size": 128,
            "ffn_hidden_size": 352, "kv_channels": 32, "num_attention_heads": 4,
            "multi_query_attention": true, "multi_query_group_num": 2, "seq_length": 2048,
            "layernorm_epsilon": 1e-5, "rmsnorm": true, "add_bias_linear": false, "add_qkv_bias": true,
            "post_layer_norm": true, "pad_token_id": 0, "eos_token_id": 2}}"#
    )
}

fn methods() -> [Method; 5] {
    let lora = |modules: &[&str], dropout| {
        let modules = modules.iter().map(|name| (*name).to_string()).collect();
        Method::Adapter(AdapterSettings::Lora(LoraSettings {
            rank: 8,
            alpha: 16.0,
            dropout,
            modules,
        }))
    };
    let prefix = PrefixSettings {
        pre_seq_len: 16,
        projection: false,
        dropout: 0.1,
    };
    [
        Method::All,
        Method::Freeze {
            freeze_module_name: vec!["layers.2.".to_string(), "layers.3.".to_string()],
        },
        lora(&["query_key_value"], 0.1),
        lora(&["all-linear"], 0.0),
        AdapterSettings::Prefix(prefix).into(),
    ]
}

fn savings() -> [Saving; 3] {
    let plain = Saving::default();
    let checkpointed = Saving {
        gradient_checkpointing: true,
        ..plain
    };
    let offloaded = Saving {
        offload_optimizer: true,
        ..checkpointed
    };
    [plain, checkpointed, offloaded]
}

/// Long rows, where activations decide, and short ones, where weights and gradients do.
fn cases(config: &str, method: &Method, dtype: DType) -> Vec<Case> {
    let lengths = [(400, 150, 1), (48, 24, 2)];
    let all = savings().into_iter().flat_map(|saving| {
        lengths.map(|(length, targets, micro_batches)| Case {
            config: config.to_string(),
            method: method.clone(),
            dtype,
            length,
            targets,
            micro_batches,
            saving,
        })
    });
    all.collect()
}

pub fn plans_are_within_ten_percent() {
    let mut all = Vec::new();
    for method in methods() {
        all.extend(cases(&chatglm(), &method, DType::F32));
        all.extend(cases(&chatglm2(), &method, DType::F32));
    }
    let [full, _, lora, ..] = methods();
    for method in [full.clone(), lora] {
        all.extend(cases(&chatglm2(), &method, DType::BF16));
    }
    all.push(Case {
        config: wide(),
        method: full,
        dtype: DType::F32,
        length: 700,
        targets: 600,
        micro_batches: 1,
        saving: Saving::default(),
    });
    for case in all {
        let (planned, measured) = (case.planned(), case.measured());
        let ratio = planned.total() as f64 / measured as f64;
        assert!(
            (0.9..=1.1).contains(&ratio),
            "{ratio:.3}: planned {planned:?}, measured {measured} bytes for {case:?}"
        );
    }
}

//! What training costs in memory, counted by the allocator: frozen weights cost no gradient, no
//! optimizer state, and no activation that only their gradients would need.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "flex")]

mod allocator;
mod forward;
mod operations;
mod plan;

use std::path::Path;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexDevice};
use glmtune::model::adapters::{AdapterSettings, LoraSettings};
use glmtune::model::config::ModelConfig;
use glmtune::model::host_weights::{HostWeights, is_offloaded};
use glmtune::model::pretrained::{Placement, Pretrained};
use glmtune::model::{BuildOptions, CausalLm};
use glmtune::training::backward::{Activations, GradientBoundary, loss_and_gradients};
use glmtune::training::gradients::Gradients;
use glmtune::training::method::{Masters, Prepared, prepare};
use glmtune::training::micro_batch::MicroBatch;
use glmtune::training::optim::{AdamW, AdamWSettings, Optimizer, Update, apply};
use glmtune::training::settings::Method;

const LAYERS: usize = 6;
const HIDDEN: usize = 128;
const TOKENS: usize = 192;

fn chatglm2(layers: usize) -> ModelConfig {
    let text = format!(
        r#"{{"model_type": "chatglm", "padded_vocab_size": 512, "num_layers": {layers},
            "hidden_size": {HIDDEN}, "ffn_hidden_size": 384, "kv_channels": 32,
            "num_attention_heads": 4, "multi_query_attention": true, "multi_query_group_num": 2,
            "seq_length": 256, "layernorm_epsilon": 1e-5, "rmsnorm": true, "add_bias_linear": false,
            "add_qkv_bias": true, "post_layer_norm": true, "pad_token_id": 0, "eos_token_id": 2}}"#
    );
    ModelConfig::from_json(&text, std::path::Path::new("config.json")).unwrap()
}

/// Makes the parameters exist, which reading them does.
struct Zeros;

impl ModuleMapper<Autodiff<Flex>> for Zeros {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<Flex>, D>>,
    ) -> Param<Tensor<Autodiff<Flex>, D>> {
        param.map(|tensor| tensor)
    }
}

fn prepared(layers: usize, method: &Method) -> Prepared<Flex> {
    prepared_as(chatglm2(layers), method, DType::F32, Masters::InModel)
}

fn prepared_as(
    config: ModelConfig,
    method: &Method,
    dtype: DType,
    masters: Masters,
) -> Prepared<Flex> {
    let options = BuildOptions {
        dtype,
        ..BuildOptions::float32()
    };
    let model = CausalLm::<Autodiff<Flex>>::uninitialized(&config, &options, &FlexDevice);
    let pretrained = Pretrained {
        config,
        model: model.map(&mut Zeros),
        host: HostWeights::default(),
    };
    prepare(pretrained, method, None, masters, 1).unwrap()
}

fn batch() -> MicroBatch {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|token| token * 31 % 500).collect();
    let labels = ids.iter().map(|&id| i64::from(id)).collect();
    MicroBatch::new(vec![ids], vec![labels], 0)
}

fn lora() -> Method {
    let settings = LoraSettings {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        modules: vec!["query_key_value".to_string()],
    };
    AdapterSettings::Lora(settings).into()
}

fn freeze_last() -> Method {
    Method::Freeze {
        freeze_module_name: vec![format!("layers.{}.", LAYERS - 1)],
    }
}

/// Bytes of what is trained, in float32.
fn trained_bytes(prepared: &Prepared<Flex>) -> usize {
    4 * prepared.trained()
}

/// The most that a forward and backward pass holds, gradients included.
fn peak(layers: usize, method: &Method, checkpointed: bool) -> usize {
    let prepared = prepared(layers, method);
    let activations = activations_of(&prepared, checkpointed);
    let batch = batch();
    // The first pass also fills what threads keep for themselves.
    drop(gradients_of(&prepared, &batch, activations));
    allocator::peak_of(|| drop(gradients_of(&prepared, &batch, activations)))
}

fn gradients_of(
    prepared: &Prepared<Flex>,
    batch: &MicroBatch,
    activations: Activations,
) -> Gradients<Flex> {
    let mut sum = Gradients::default();
    let mut sink = |grads: Gradients<Flex>| sum.add(grads);
    loss_and_gradients(&prepared.model, batch, None, activations, 1.0, &mut sink).unwrap();
    sum
}

fn activations_of(prepared: &Prepared<Flex>, checkpointed: bool) -> Activations {
    let paths = prepared.trainable.iter().map(|info| info.path.as_str());
    match checkpointed {
        true => {
            Activations::Recomputed(GradientBoundary::of(prepared.model.segments(), paths).unwrap())
        }
        false => Activations::Kept,
    }
}

/// One test, since the counters are the process's.
#[test]
fn what_is_frozen_costs_nothing() {
    operations::operations_hold_what_they_declare();
    gradients_and_state_are_those_of_what_is_trained();
    frozen_blocks_store_no_activations();
    checkpointed_memory_grows_by_its_inputs_alone();
    offloaded_weights_leave_after_their_turn();
    forward::nothing_is_kept();
    forward::offloaded_weights_take_turns();
    plan::plans_are_within_ten_percent();
}

fn gradients_and_state_are_those_of_what_is_trained() {
    for method in [lora(), freeze_last(), Method::All] {
        let prepared = prepared(LAYERS, &method);
        let trained = trained_bytes(&prepared);
        let batch = batch();
        let held = |bytes: usize, factor: usize, what: &str| {
            let expected = factor * trained;
            // Names and nodes of the graph come on top.
            assert!(
                bytes >= expected && bytes <= expected + expected / 10 + 200_000,
                "{}: {what}: {bytes} bytes for {trained} trained",
                method.name()
            );
        };
        let activations = activations_of(&prepared, false);
        // The first pass also fills what threads keep for themselves.
        drop(gradients_of(&prepared, &batch, activations));
        let mut gradients = None;
        let bytes = allocator::held_by(|| {
            gradients = Some(gradients_of(&prepared, &batch, activations));
        });
        held(bytes, 1, "gradients");
        let mut optimizer = AdamW::<Flex>::new(AdamWSettings::default());
        let update = Update {
            lr: 1e-3,
            number: 1,
            grad_scale: 1.0,
        };
        let model = prepared.model;
        let (mut updated, mut host) = (None, HostWeights::default());
        let bytes = allocator::held_by(|| {
            let grads = gradients.take().unwrap();
            updated = Some(apply(grads, model, &mut host, &mut optimizer, update).unwrap());
        });
        // Two moments come, the gradients go.
        held(bytes.wrapping_add(trained), 2, "optimizer's state");
        assert_eq!(Optimizer::<Flex>::state(&optimizer).len() % 2, 0);
    }
}

fn frozen_blocks_store_no_activations() {
    let all = peak(LAYERS, &Method::All, false);
    let freeze = peak(LAYERS, &freeze_last(), false);
    let gradients =
        4 * (prepared(LAYERS, &Method::All).trained() - prepared(LAYERS, &freeze_last()).trained());
    // One block of six stores something.
    assert!(
        freeze + gradients < all / 2 + gradients / 2,
        "freeze {freeze}, all {all}"
    );
    // More frozen blocks below the trained one add nothing but their weights, which are not counted.
    let deep = Method::Freeze {
        freeze_module_name: vec![format!("layers.{}.", 2 * LAYERS - 1)],
    };
    let deeper = peak(2 * LAYERS, &deep, false);
    let activation = 4 * TOKENS * HIDDEN;
    let growth = deeper.saturating_sub(freeze) / LAYERS;
    assert!(
        growth < activation / 2,
        "{growth} bytes for each frozen block"
    );
    // LoRA passes through every block, and keeps less of each than full training does.
    let lora = peak(LAYERS, &lora(), false);
    assert!(lora < all - all / 10, "lora {lora}, all {all}");
}

/// Counts the parameters that are not on the device.
#[derive(Default)]
struct Offloaded(usize);

impl<B: Backend> ModuleVisitor<B> for Offloaded {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0 += usize::from(is_offloaded(param));
    }
}

fn offloaded_weights_leave_after_their_turn() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/chatglm2");
    for method in [lora(), Method::All] {
        let pretrained = Pretrained::<Autodiff<Flex>>::load_to(
            Placement::Host,
            &dir,
            None,
            DType::F32,
            &FlexDevice,
            &mut |_, _, _| (),
        );
        let prepared = prepare(
            pretrained.unwrap(),
            &method,
            None,
            Masters::WithOptimizer,
            1,
        );
        let prepared = prepared.unwrap();
        let offloaded = || {
            let mut offloaded = Offloaded::default();
            prepared.model.visit(&mut offloaded);
            offloaded.0
        };
        let before = offloaded();
        // Embeddings, output layer, and four matrices of each block.
        assert_eq!(before, 2 + 4 * prepared.model.num_blocks());
        let ids: Vec<u32> = (5..25).collect();
        let labels = ids.iter().map(|&id| i64::from(id)).collect();
        let batch = MicroBatch::new(vec![ids], vec![labels], 0);
        let gradients = gradients_of(&prepared, &batch, activations_of(&prepared, true));
        assert_eq!(offloaded(), before, "{}", method.name());
        for info in &prepared.trainable {
            assert!(gradients.contains(&info.path), "{}", info.path);
        }
    }
}

fn checkpointed_memory_grows_by_its_inputs_alone() {
    let input = 4 * TOKENS * HIDDEN;
    let few = peak(LAYERS, &lora(), true);
    let many = peak(2 * LAYERS, &lora(), true);
    let growth = many - few;
    let expected = LAYERS * input;
    assert!(growth < 2 * expected, "growth {growth}, inputs {expected}");
    let plain = peak(2 * LAYERS, &lora(), false) - peak(LAYERS, &lora(), false);
    assert!(4 * growth < plain, "checkpointed {growth}, plain {plain}");
}

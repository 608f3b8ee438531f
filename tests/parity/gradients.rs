//! The hand-written backward passes, as the trainer walks them: gradients of every parameter.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData};
use glmtune::model::GlmBackend;
use glmtune::model::adapters::{Adapter, Lora};
use glmtune::model::parameters::parameters;
use glmtune::model::segment::SegmentPaths;
use glmtune::model::trainable::set_trainable;
use glmtune::training::backward::{Activations, GradientBoundary, loss_and_gradients};
use glmtune::training::gradients::Gradients;
use glmtune::training::loss::{Targets, negative_log_likelihood};
use glmtune::training::micro_batch::MicroBatch;

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model_of_run};

parity_tests!(gradients, checkpointed_gradients, output_layer_adapter);

fn gradients<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    every_run(backend, family, |_, _| Activations::Kept);
}

fn checkpointed_gradients<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    every_run(backend, family, |segments, trained| {
        let trained = trained.iter().map(String::as_str);
        Activations::Recomputed(GradientBoundary::of(segments, trained).unwrap())
    });
}

fn every_run<B: GlmBackend>(
    backend: &TestBackend<B>,
    family: &str,
    activations: impl Fn(&SegmentPaths, &[String]) -> Activations,
) {
    let fixtures = Fixtures::of(family);
    for run in ["base", "freeze"].into_iter().chain(ADAPTERS) {
        let found = gradients_of_run::<B>(family, run, &fixtures, &backend.device, &activations);
        let expected = fixtures.names().into_iter();
        let prefix = format!("{run}.grad.");
        let expected: Vec<String> = expected.filter(|name| name.starts_with(&prefix)).collect();
        assert_eq!(found.len(), expected.len(), "{run}: number of gradients");
        for (path, grad) in found {
            let name = expected
                .iter()
                .find(|name| name.replace(".default.", ".").ends_with(&path))
                .unwrap_or_else(|| panic!("{run}: no fixture for {path}"));
            assert_close(
                name,
                &grad,
                &fixtures.floats(name),
                backend.tolerance.gradients,
            );
        }
    }
}

fn gradients_of_run<B: GlmBackend>(
    family: &str,
    run: &str,
    fixtures: &Fixtures,
    device: &B::Device,
    activations: impl Fn(&SegmentPaths, &[String]) -> Activations,
) -> Vec<(String, Vec<f32>)> {
    let frozen = fixtures.meta["freeze_module_name"].as_str().unwrap();
    let part = match run {
        "base" => "",
        "freeze" => frozen,
        "lora" | "lora_all" => ".lora.",
        _ => "prefix_encoder",
    };
    let attached = if run == "freeze" { "base" } else { run };
    let model = model_of_run::<Autodiff<B>>(family, attached, device).model;
    let model = set_trainable(model, &|path| path.contains(part), DType::F32);
    let paths = parameters(&model).into_iter().map(|info| info.path);
    let trained: Vec<String> = paths.filter(|path| path.contains(part)).collect();
    let tokens = fixtures.batch();
    let batch = MicroBatch {
        tokens,
        labels: fixtures.rows("labels"),
    };
    let mut sum = Gradients::<B>::default();
    let mut sink = |grads: Gradients<B>| sum.add(grads);
    loss_and_gradients(
        &model,
        &batch,
        None,
        activations(model.segments(), &trained),
        1.0,
        &mut sink,
    )
    .unwrap();
    sum.iter()
        .map(|(path, grad)| {
            let path = path.replace(".lora.", ".");
            (path, grad.clone().into_host().unwrap())
        })
        .collect()
}

/// LoRA on the output layer: the head's chunks of logits against the gradients through all logits at once.
fn output_layer_adapter<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    const RANK: usize = 3;
    let (fixtures, device) = (Fixtures::of(family), &backend.device);
    let mut model = model_of_run::<Autodiff<B>>(family, "lora", device).model;
    let (path, head) = model.projections_mut().pop().unwrap();
    assert!(["lm_head", "transformer.output_layer"].contains(&path.as_str()));
    let [input, output] = head.dims();
    let factor = |rows: usize, columns: usize| {
        let values = (0..rows * columns).map(|index| 0.1 * (index as f32 * 0.7).sin());
        let data = TensorData::new(values.collect(), [rows, columns]);
        Tensor::from_data(data, (device, DType::F32))
    };
    head.adapter = Some(Adapter::Lora(Lora::new(
        factor(RANK, input),
        factor(output, RANK),
        2.0,
    )));
    let model = set_trainable(model, &|path| path.contains(".lora."), DType::F32);
    let batch = MicroBatch {
        tokens: fixtures.batch(),
        labels: fixtures.rows("labels"),
    };
    let targets = Targets::new(&batch.labels, batch.tokens.width(), device).unwrap();
    let logits = model.forward(&batch.tokens).unwrap();
    let mut grads = negative_log_likelihood(logits, &targets).mean().backward();
    let expected = host(Gradients::<B>::take(&model, &mut grads));
    assert_eq!(
        expected
            .iter()
            .filter(|(name, _)| name.starts_with(&path))
            .count(),
        2
    );
    let infos = parameters(&model);
    let trained = infos.iter().map(|info| info.path.as_str());
    let trained = trained.filter(|path| path.contains(".lora."));
    for activations in [
        Activations::Kept,
        Activations::Recomputed(GradientBoundary::of(model.segments(), trained).unwrap()),
    ] {
        let mut sum = Gradients::<B>::default();
        let mut sink = |grads: Gradients<B>| sum.add(grads);
        loss_and_gradients(&model, &batch, None, activations, 1.0, &mut sink).unwrap();
        let found = host(sum);
        assert_eq!(found.len(), expected.len());
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert_close(name, found, expected, backend.tolerance.gradients);
        }
    }
}

/// Gradients by path, in order.
fn host<B: GlmBackend>(gradients: Gradients<B>) -> Vec<(String, Vec<f32>)> {
    let paths = gradients.into_paths().into_iter();
    paths
        .map(|(path, grad)| (path, grad.into_host().unwrap()))
        .collect()
}

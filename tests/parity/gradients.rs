//! The hand-written backward passes, as the trainer walks them: gradients of every parameter.

use burn::backend::Autodiff;
use burn::tensor::DType;
use glmtune::model::GlmBackend;
use glmtune::model::parameters::parameters;
use glmtune::model::peft::set_trainable;
use glmtune::training::gradients::Gradients;
use glmtune::training::walk::{BackwardReach, MicroBatch, Walk, loss_and_gradients};

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model_of_run};

parity_tests!(gradients, checkpointed_gradients);

fn gradients<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    every_run(backend, family, |_| Walk::Plain);
}

fn checkpointed_gradients<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    every_run(backend, family, |trained| {
        Walk::Checkpointed(BackwardReach::of(trained.iter().map(String::as_str)))
    });
}

fn every_run<B: GlmBackend>(
    backend: &TestBackend<B>,
    family: &str,
    walk: impl Fn(&[String]) -> Walk,
) {
    let fixtures = Fixtures::of(family);
    for run in ["base", "freeze"].into_iter().chain(ADAPTERS) {
        let found = gradients_of_run::<B>(family, run, &fixtures, &backend.device, &walk);
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
    walk: impl Fn(&[String]) -> Walk,
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
    loss_and_gradients(&model, &batch, None, walk(&trained), 1.0, &mut sink).unwrap();
    sum.iter()
        .map(|(path, grad)| {
            let path = path.replace(".lora.", ".");
            (path, grad.clone().into_host().unwrap())
        })
        .collect()
}

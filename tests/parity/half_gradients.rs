//! Gradients in half precision, with the loss scale that a training starts with, against those in float32.

use burn::backend::Autodiff;
use burn::tensor::DType;
use glmtune::model::GlmBackend;
use glmtune::model::pretrained::Pretrained;
use glmtune::model::trainable::set_trainable;
use glmtune::training::backward::{
    Activations, GradientBoundary, LowestTrained, loss_and_gradients,
};
use glmtune::training::gradients::Gradients;
use glmtune::training::micro_batch::MicroBatch;

use crate::backends::{TestBackend, parity_tests};
use crate::common::golden;
use crate::fixtures::{Fixtures, assert_close};

parity_tests!(half_precision_with_a_loss_scale);

/// DeepSpeed's first loss scale, which half precision itself cannot express.
const SCALE: f64 = 65536.0;

fn half_precision_with_a_loss_scale<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    if !B::supports_dtype(&backend.device, DType::F16) {
        eprintln!("skipped: this device has no f16");
        return;
    }
    let fixtures = Fixtures::of(family);
    let boundary = GradientBoundary {
        lowest: LowestTrained::Embeddings,
        prefix: false,
    };
    for activations in [Activations::Kept, Activations::Recomputed(boundary)] {
        let found = gradients::<B>(&fixtures, family, activations, &backend.device);
        for (path, grad) in &found {
            let expected = fixtures.floats(&format!("base.grad.{path}"));
            assert_close(path, grad, &expected, backend.tolerance.half_gradients);
        }
        let expected = fixtures.names().into_iter();
        let expected = expected.filter(|name| name.starts_with("base.grad."));
        assert_eq!(found.len(), expected.count());
    }
}

fn gradients<B: GlmBackend>(
    fixtures: &Fixtures,
    family: &str,
    activations: Activations,
    device: &B::Device,
) -> Vec<(String, Vec<f32>)> {
    let (dir, silent) = (golden(family), &mut |_: &str, _, _| ());
    let loaded = Pretrained::<Autodiff<B>>::load(&dir, None, DType::F16, device, silent).unwrap();
    let model = set_trainable(loaded.model, &|_| true, DType::F32);
    let batch = MicroBatch {
        tokens: fixtures.batch(),
        labels: fixtures.rows("labels"),
    };
    let mut sum = Gradients::<B>::default();
    let mut sink = |grads: Gradients<B>| sum.add(grads);
    loss_and_gradients(&model, &batch, None, activations, SCALE, &mut sink).unwrap();
    sum.iter()
        .map(|(path, grad)| {
            let values = grad.clone().into_host().unwrap().into_iter();
            let unscaled = values.map(|value| value / SCALE as f32);
            (path.to_string(), unscaled.collect())
        })
        .collect()
}

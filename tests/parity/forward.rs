//! Logits, hidden states and losses.

use std::fs;

use burn::tensor::Tensor;
use glmtune::model::{GlmBackend, Padding, TokenBatch};
use glmtune::training::forward::loss_sum;
use glmtune::training::micro_batch::MicroBatch;

use crate::backends::{TestBackend, parity_tests};
use crate::common::golden;
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model, model_of_run};

parity_tests!(
    hidden_states,
    logits_and_loss,
    logits_from_pickled_shards,
    left_padding,
);

fn values<B: GlmBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

fn hidden_states<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let pretrained = model::<B>(&golden(family), &backend.device);
    let states = pretrained.model.hidden_states(&fixtures.batch()).unwrap();
    assert_eq!(states.len(), pretrained.config.common().num_layers + 1);
    for (index, state) in states.into_iter().enumerate() {
        let name = format!("base.hidden.{index}");
        assert_close(
            &name,
            &values(state),
            &fixtures.floats(&name),
            backend.tolerance.logits,
        );
    }
}

fn logits_and_loss<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let batch = fixtures.batch();
    let labelled = MicroBatch {
        tokens: fixtures.batch(),
        labels: fixtures.rows("labels"),
    };
    for run in ["base"].into_iter().chain(ADAPTERS) {
        let pretrained = model_of_run::<B>(family, run, &backend.device);
        let logits = pretrained.model.forward(&batch).unwrap();
        let loss = loss_sum(&pretrained.model, &labelled).unwrap();
        let loss = vec![loss.mean().unwrap() as f32];
        for (kind, found) in [("logits", values(logits)), ("loss", loss)] {
            let name = format!("{run}.{kind}");
            assert_close(
                &name,
                &found,
                &fixtures.floats(&name),
                backend.tolerance.logits,
            );
        }
    }
}

/// The same weights in the hub's older layout.
fn logits_from_pickled_shards<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(family)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "config.json" || name.starts_with("pytorch_model") {
            fs::copy(&path, dir.path().join(name)).unwrap();
        }
    }
    let logits = model::<B>(dir.path(), &backend.device)
        .model
        .forward(&fixtures.batch())
        .unwrap();
    let expected = fixtures.floats("base.logits");
    assert_close(
        "base.logits",
        &values(logits),
        &expected,
        backend.tolerance.logits,
    );
}

/// A row has the same logits wherever it stands in a batch.
fn left_padding<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let rows = fixtures.batch().sequences().to_vec();
    let short = rows[0][..rows[0].len() - 5].to_vec();
    let model = model_of_run::<B>(family, "prefix", &backend.device).model;
    let alone = TokenBatch::new(vec![short.clone()], Padding::Right, 0);
    let alone = model.forward(&alone).unwrap();
    let padded = TokenBatch::new(vec![rows[1].clone(), short], Padding::Left, 0);
    let padded = model.forward(&padded).unwrap().narrow(0, 1, 1);
    let padded = padded.narrow(1, 5, alone.dims()[1]);
    let tolerance = backend.tolerance.logits;
    assert_close(
        "left-padded logits",
        &values(padded),
        &values(alone),
        tolerance,
    );
}

//! Rows that share a sequence give the loss and the gradients of the same rows in sequences of their own.

use burn::backend::Autodiff;
use burn::tensor::{DType, ElementConversion};
use glmtune::model::parameters::parameters;
use glmtune::model::rows::IGNORED;
use glmtune::model::trainable::set_trainable;
use glmtune::model::{CausalLm, GlmBackend};
use glmtune::training::backward::{Activations, GradientBoundary, loss_and_gradients};
use glmtune::training::gradients::Gradients;
use glmtune::training::micro_batch::MicroBatch;

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model_of_run};

parity_tests!(packed_rows);

/// Tokens and targets of a row.
type Row = (Vec<u32>, Vec<i64>);

/// Rows without padding: several, one of them of more queries than are worked on together, and one that has a target in
/// the place of its first token.
fn rows(fixtures: &Fixtures) -> Vec<Row> {
    let mut rows = Vec::new();
    for index in 0..3 {
        let part = |name: &str| fixtures.rows(&format!("data.{index}.{name}"));
        for (ids, labels) in part("input_ids").into_iter().zip(part("labels")) {
            let end = labels.iter().rposition(|&label| label != IGNORED).unwrap() + 1;
            let ids = ids[..end].iter().map(|&id| id as u32);
            rows.push((ids.collect(), labels[..end].to_vec()));
        }
    }
    rows[1] = lengthened(&rows[1]);
    rows[2].1[0] = i64::from(rows[2].0[0]);
    rows
}

/// The row with its question seven times.
fn lengthened((ids, labels): &Row) -> Row {
    let targets = labels.iter().position(|&label| label != IGNORED).unwrap();
    let question = &ids[..targets - 1];
    let ids = [&question.repeat(6), &ids[..]].concat();
    let labels = [&vec![IGNORED; 6 * question.len()], &labels[..]].concat();
    (ids, labels)
}

fn packed_rows<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let rows = rows(&fixtures);
    let alone: (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
    let unpacked = MicroBatch::new(alone.0, alone.1, 0);
    let one = MicroBatch::end_to_end(vec![rows.clone()], 0);
    // Of different lengths, so that one of them is padded.
    let two = MicroBatch::end_to_end(vec![rows[..4].to_vec(), rows[4..].to_vec()], 0);
    assert_eq!(unpacked.real_tokens(), one.real_tokens());
    assert!(one.tokens.width() > unpacked.tokens.width());
    let frozen = fixtures.meta["freeze_module_name"].as_str().unwrap();
    for run in ["base", "freeze"].into_iter().chain(ADAPTERS) {
        let part = match run {
            "base" => "",
            "freeze" => frozen,
            "lora" | "lora_all" => ".lora.",
            _ => "prefix_encoder",
        };
        let attached = if run == "freeze" { "base" } else { run };
        let model = model_of_run::<Autodiff<B>>(family, attached, &backend.device).model;
        let model = set_trainable(model, &|path| path.contains(part), DType::F32);
        let paths = parameters(&model).into_iter().map(|info| info.path);
        let trained: Vec<String> = paths.filter(|path| path.contains(part)).collect();
        let trained = trained.iter().map(String::as_str);
        let boundary = GradientBoundary::of(model.segments(), trained.clone()).unwrap();
        let (loss, expected) = pass(&model, &unpacked, Activations::Kept);
        assert_eq!(expected.len(), trained.count(), "{run}");
        for (what, batch, activations) in [
            ("one sequence", &one, Activations::Kept),
            ("two sequences", &two, Activations::Recomputed(boundary)),
        ] {
            let what = format!("{run}, {what}");
            let (found_loss, found) = pass(&model, batch, activations);
            assert_close(&what, &[found_loss], &[loss], backend.tolerance.logits);
            assert_eq!(found.len(), expected.len(), "{what}");
            for ((path, found), (_, expected)) in found.iter().zip(&expected) {
                let what = format!("{what}: {path}");
                assert_close(&what, found, expected, backend.tolerance.gradients);
            }
        }
    }
}

/// Loss and gradients by path.
fn pass<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    activations: Activations,
) -> (f32, Vec<(String, Vec<f32>)>) {
    let mut sum = Gradients::<B>::default();
    let mut sink = |grads: Gradients<B>| sum.add(grads);
    let loss = loss_and_gradients(model, batch, None, activations, 1.0, &mut sink).unwrap();
    let gradients = sum.into_paths().into_iter();
    let gradients = gradients.map(|(path, grad)| (path, grad.into_host().unwrap()));
    (loss.into_scalar().elem(), gradients.collect())
}

//! The forward pass alone gives the loss of the training pass, whichever way it is computed.

use burn::backend::Autodiff;
use burn::tensor::{DType, ElementConversion};
use glmtune::model::host_weights::HostWeights;
use glmtune::model::parameters::parameters;
use glmtune::model::pretrained::{Placement, Pretrained};
use glmtune::model::trainable::set_trainable;
use glmtune::model::{CausalLm, GlmBackend};
use glmtune::training::backward::{Activations, GradientBoundary, loss_and_gradients};
use glmtune::training::forward::LossSum;
use glmtune::training::micro_batch::MicroBatch;
use glmtune::training::parallel::devices::replicas::Replicas;
use glmtune::training::parallel::forward::{ForwardPlan, loss_sums};
use glmtune::training::parallel::pipeline::Stages;
use glmtune::training::parallel::processes::ranks::ProcessGroup;

use crate::backends::{TestBackend, parity_tests};
use crate::common::golden;
use crate::fixtures::{ADAPTERS, Fixtures, assert_close, model_of_run};

parity_tests!(every_way_of_training, offloaded_weights);

/// Each row on its own, both together, and one without a target.
fn batches(fixtures: &Fixtures) -> Vec<MicroBatch> {
    let ids = fixtures.batch().sequences().to_vec();
    let labels = fixtures.rows("labels");
    let alone = ids.iter().zip(&labels);
    let mut batches: Vec<MicroBatch> = alone
        .map(|(ids, labels)| MicroBatch::new(vec![ids.clone()], vec![labels.clone()], 0))
        .collect();
    let none = vec![-100; ids[0].len()];
    batches.push(MicroBatch::new(vec![ids[0].clone()], vec![none], 0));
    batches.push(MicroBatch::new(ids, labels, 0));
    batches
}

fn training_loss<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    batch: &MicroBatch,
    activations: Activations,
) -> f64 {
    let loss = loss_and_gradients(model, batch, None, activations, 1.0, &mut |_| Ok(())).unwrap();
    loss.into_scalar().elem()
}

/// What a training of everything sees of each micro-batch.
fn check<B: GlmBackend>(
    what: &str,
    model: &CausalLm<Autodiff<B>>,
    batches: &[MicroBatch],
    found: &[LossSum],
    tolerance: f32,
) {
    let infos = parameters(model);
    let trained = infos.iter().map(|info| info.path.as_str());
    let boundary = GradientBoundary::of(model.segments(), trained).unwrap();
    assert_eq!(found.len(), batches.len(), "{what}");
    for (batch, found) in batches.iter().zip(found) {
        let labels = batch.labels.iter().flat_map(|row| row.iter().skip(1));
        let targets = labels.filter(|&&label| label != -100).count() as u64;
        assert_eq!(found.targets, targets, "{what}");
        if targets == 0 {
            assert_eq!(found.mean(), None, "{what}");
            continue;
        }
        let expected = training_loss(model, batch, Activations::Recomputed(boundary));
        assert_eq!(found.mean(), Some(expected), "{what}");
        let plain = training_loss(model, batch, Activations::Kept) as f32;
        assert_close(what, &[expected as f32], &[plain], tolerance);
    }
}

/// The ways to compute it: one device, two replicas, two stages.
fn ways<B: GlmBackend>(
    model: &CausalLm<Autodiff<B>>,
    host: &HostWeights,
    batches: &[MicroBatch],
    device: &B::Device,
) -> Vec<(&'static str, Vec<LossSum>)> {
    let devices = [device.clone(), device.clone()];
    let stages = Stages::<B>::new(devices.to_vec(), model.num_blocks());
    let placed = stages.place(model.clone(), host).unwrap();
    let group = ProcessGroup::default();
    let mut plan = ForwardPlan {
        devices: &devices[..1],
        replicas: &Replicas::default(),
        stages: None,
        host,
        group: &group,
    };
    let plain = loss_sums(model, batches, &plan).unwrap();
    plan.devices = &devices;
    let replicas = loss_sums(model, batches, &plan).unwrap();
    plan.stages = Some(&stages);
    let pipeline = loss_sums(&placed, batches, &plan).unwrap();
    vec![
        ("one device", plain),
        ("replicas", replicas),
        ("pipeline", pipeline),
    ]
}

fn every_way_of_training<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let batches = batches(&Fixtures::of(family));
    for run in ["base"].into_iter().chain(ADAPTERS) {
        let model = model_of_run::<Autodiff<B>>(family, run, &backend.device).model;
        let model = set_trainable(model, &|_| true, DType::F32);
        let host = HostWeights::default();
        for (way, found) in ways(&model, &host, &batches, &backend.device) {
            let what = format!("{run}, {way}");
            check(&what, &model, &batches, &found, backend.tolerance.logits);
        }
    }
}

/// Weights in the host's memory give the same, and are there again afterwards.
fn offloaded_weights<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let batches = batches(&Fixtures::of(family));
    let resident = model_of_run::<Autodiff<B>>(family, "base", &backend.device).model;
    let offloaded = Pretrained::<Autodiff<B>>::load_to(
        Placement::Host,
        &golden(family),
        None,
        DType::F32,
        &backend.device,
        &mut |_, _, _| (),
    )
    .unwrap();
    let (model, host) = (offloaded.model, offloaded.host);
    for (way, found) in ways(&model, &host, &batches, &backend.device) {
        let what = format!("offloaded, {way}");
        check(&what, &resident, &batches, &found, backend.tolerance.logits);
        assert!(host.strays(&model).is_empty(), "{what}");
    }
}

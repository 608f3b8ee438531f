//! The update on the host's memory: bytes per second, to be held against the machine's memory bandwidth.
//!
//! Read weight, gradient and both moments, write all but the gradient: 28 bytes an element.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glmtune_training::optim::ops::{AdamStep, host_adamw};

/// Elements: far more than any cache holds.
const ELEMENTS: usize = 50_000_000;

fn adamw(criterion: &mut Criterion) {
    let step = AdamStep {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 10,
        grad_scale: 0.5,
    };
    let mut weight = vec![0.1f32; ELEMENTS];
    let (mut first, mut second) = (vec![0.01f32; ELEMENTS], vec![0.02f32; ELEMENTS]);
    let grad = vec![0.03f32; ELEMENTS];
    let mut group = criterion.benchmark_group("adamw");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(28 * ELEMENTS as u64));
    group.bench_function("host", |bencher| {
        bencher.iter(|| host_adamw(&mut weight, &mut first, &mut second, &grad, &step));
    });
    let mut copy = vec![0.0f32; ELEMENTS];
    group.throughput(Throughput::Bytes(8 * ELEMENTS as u64));
    group.bench_function("copy, one thread", |bencher| {
        bencher.iter(|| copy.copy_from_slice(&weight));
    });
    group.finish();
}

criterion_group!(benches, adamw);
criterion_main!(benches);

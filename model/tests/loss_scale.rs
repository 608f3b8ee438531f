//! The loss scale of half precision: what it is for, and that it does no harm itself.

#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Int, Tensor, TensorPrimitive};
use burn_flex::{Flex, FlexDevice};
use glmtune_model::layers::ops::head_loss::{
    HeadAdapter, HeadGradients, HeadLoss, HeadLossOps, default,
};

const SCALE: f64 = 65536.0;
const ROWS: usize = 2048;
const WIDTH: usize = 8;
const VOCABULARY: usize = 64;
/// Of the weights that make gradients small.
const SHARE: f64 = 1.2e-3;

/// Hidden states and an output layer whose probabilities over so many rows leave gradients below the
/// smallest number of half precision.
fn operands() -> (Tensor<Flex, 2>, Tensor<Flex, 2>, Tensor<Flex, 1, Int>) {
    let value = |index: usize| ((index * 37 % 101) as f32 / 101.0 - 0.5) * 0.5;
    let make = |rows: usize| {
        let values: Vec<f32> = (0..rows * WIDTH).map(value).collect();
        let tensor = Tensor::<Flex, 1>::from_floats(&values[..], &FlexDevice);
        tensor.reshape([rows, WIDTH]).cast(DType::F16)
    };
    let targets: Vec<i32> = (0..ROWS).map(|row| (row * 7 % VOCABULARY) as i32).collect();
    let targets = Tensor::from_ints(&targets[..], &FlexDevice);
    // Far above zero in float32, and near the end of half precision.
    (make(ROWS), make(VOCABULARY).mul_scalar(SHARE), targets)
}

/// The operation of a backend.
type Head = fn(
    FloatTensor<Flex>,
    FloatTensor<Flex>,
    Option<HeadAdapter<Flex>>,
    IntTensor<Flex>,
    HeadGradients,
) -> HeadLoss<Flex>;

fn primitive<const D: usize>(tensor: Tensor<Flex, D>) -> FloatTensor<Flex> {
    tensor.into_primitive().tensor()
}

fn floats(tensor: FloatTensor<Flex>) -> Vec<f32> {
    let tensor = Tensor::<Flex, 2>::from_primitive(TensorPrimitive::Float(tensor));
    tensor.cast(DType::F32).into_data().to_vec().unwrap()
}

fn wanted(scale: f64) -> HeadGradients {
    HeadGradients {
        hidden: true,
        weight: true,
        adapter: false,
        scale,
    }
}

/// The largest difference over the largest value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / largest
}

#[test]
fn small_gradients_survive_in_half_precision() {
    let (hidden, weight, targets) = operands();
    let exact = Flex::glm_head_loss(
        primitive(hidden.clone().cast(DType::F32)),
        primitive(weight.clone().cast(DType::F32)),
        None,
        targets.clone().into_primitive(),
        wanted(1.0),
    );
    let exact = floats(exact.grad_hidden.unwrap());
    for head in [Flex::glm_head_loss as Head, default::head_loss::<Flex>] {
        let gradient = |scale: f64| -> Vec<f32> {
            let (hidden, weight) = (primitive(hidden.clone()), primitive(weight.clone()));
            let targets = targets.clone().into_primitive();
            let found = floats(
                head(hidden, weight, None, targets, wanted(scale))
                    .grad_hidden
                    .unwrap(),
            );
            found
                .into_iter()
                .map(|value| value / scale as f32)
                .collect()
        };
        let scaled = error(&gradient(SCALE), &exact);
        assert!(scaled < 5e-3, "with the scale: {scaled}");
        let unscaled = error(&gradient(1.0), &exact);
        assert!(unscaled > 5e-2, "the case needs no scale: {unscaled}");
    }
}

/// The fewest targets that a micro-batch can have leave a gradient of the logits of nearly one.
#[test]
fn one_target_does_not_overflow() {
    let (hidden, weight, targets) = operands();
    let (hidden, targets) = (hidden.narrow(0, 0, 1), targets.narrow(0, 0, 1));
    let exact = Flex::glm_head_loss(
        primitive(hidden.clone().cast(DType::F32)),
        primitive(weight.clone().cast(DType::F32)),
        None,
        targets.clone().into_primitive(),
        wanted(1.0),
    );
    let (hidden, weight) = (primitive(hidden), primitive(weight));
    for found in [
        Flex::glm_head_loss(
            hidden.clone(),
            weight.clone(),
            None,
            targets.clone().into_primitive(),
            wanted(SCALE),
        ),
        default::head_loss::<Flex>(
            hidden,
            weight,
            None,
            targets.into_primitive(),
            wanted(SCALE),
        ),
    ] {
        let pairs = [
            (found.grad_hidden, exact.grad_hidden.clone()),
            (found.grad_weight, exact.grad_weight.clone()),
        ];
        for (found, exact) in pairs {
            let found = floats(found.unwrap()).into_iter();
            let found: Vec<f32> = found.map(|value| value / SCALE as f32).collect();
            assert!(error(&found, &floats(exact.unwrap())) < 5e-3);
        }
    }
}

/// Under autodiff the loss keeps its value, and a factor of the caller's acts in float32 as well: it may be
/// beyond the numbers of half precision.
#[test]
fn the_scale_acts_on_gradients_alone() {
    const FACTOR: f64 = 131_072.0;
    let (hidden, weight, targets) = operands();
    let (hidden, targets) = (hidden.narrow(0, 0, 1), targets.narrow(0, 0, 1));
    let weight = weight.div_scalar(SHARE);
    let run = |scale: f64, factor: f64| {
        let hidden = Tensor::<Autodiff<Flex>, 2>::from_inner(hidden.clone()).require_grad();
        let weight = Tensor::<Autodiff<Flex>, 2>::from_inner(weight.clone());
        let loss = Autodiff::<Flex>::glm_head_loss(
            hidden.clone().into_primitive().tensor(),
            weight.into_primitive().tensor(),
            None,
            targets.clone().into_primitive(),
            wanted(scale),
        );
        let loss = Tensor::<Autodiff<Flex>, 1>::from_primitive(TensorPrimitive::Float(loss.loss));
        let value: f32 = loss.clone().into_scalar();
        let grads = loss.mul_scalar(factor).backward();
        (value, floats(primitive(hidden.grad(&grads).unwrap())))
    };
    let (loss, gradient) = run(SCALE, 1.0);
    assert_eq!(loss, run(1.0, 1.0).0);
    let by_factor = run(SCALE / FACTOR, FACTOR).1;
    assert!(
        error(&by_factor, &gradient) < 1e-3,
        "{by_factor:?} {gradient:?}"
    );
}

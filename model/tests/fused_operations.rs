//! The CPU's fused leaf operations against the defaults made of Burn's operations, in every type and for
//! sizes on both sides of each kernel's thresholds.

#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use glmtune_model::layers::linear as linear_layer;
use glmtune_model::layers::ops::activation::{self, ActivationOps};
use glmtune_model::layers::ops::attention::{self, AttentionInput, AttentionOps, AttentionScale};
use glmtune_model::layers::ops::dropout::{self, Dropout, DropoutOps};
use glmtune_model::layers::ops::head_loss::{self, HeadAdapter, HeadGradients, HeadLossOps};
use glmtune_model::layers::ops::linear::{self, LinearOps};
use glmtune_model::layers::ops::norm::{self, NormOps};
use glmtune_model::layers::ops::rotary::{self, Direction, RotaryOps, RotaryPairs};
use glmtune_model::layers::{AttentionMask, LoraFactors, MaskSpec, lora, parts};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

thread_local! {
    /// Every test has a thread, and so values, of its own; Burn's generator is shared by all of them.
    static GENERATOR: RefCell<ChaCha8Rng> = RefCell::new(ChaCha8Rng::seed_from_u64(1));
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> FlexTensor {
    let count = shape.iter().product();
    let values: Vec<f32> = GENERATOR.with_borrow_mut(|generator| {
        (0..count)
            .map(|_| generator.random_range(-1.0..1.0))
            .collect()
    });
    let values = Tensor::<Flex, D>::from_data(TensorData::new(values, shape), &FlexDevice);
    values.cast(dtype).into_primitive().tensor()
}

/// The same values in float32: what the default is given where it would round in between.
fn exact<const D: usize>(tensor: &FlexTensor) -> FlexTensor {
    let tensor = Tensor::<Flex, D>::from_primitive(TensorPrimitive::Float(tensor.clone()));
    tensor.cast(DType::F32).into_primitive().tensor()
}

fn floats<const D: usize>(tensor: FlexTensor) -> Vec<f32> {
    let tensor = Tensor::<Flex, D>::from_primitive(TensorPrimitive::Float(tensor));
    tensor.cast(DType::F32).into_data().to_vec().unwrap()
}

/// Float32 differs by the order of sums; a 16-bit result by a rounding of the last place, or several
/// where the default rounds in between.
fn assert_close<const D: usize>(what: &str, dtype: DType, found: FlexTensor, expected: FlexTensor) {
    let (found, expected) = (floats::<D>(found), floats::<D>(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    let tolerance = match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 4e-3,
        _ => 3e-2,
    };
    let largest = expected.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(
            error <= tolerance,
            "{what}, {dtype:?}, element {index}: {a} and {b}"
        );
    }
}

/// One operation, or its parts one by one: outputs and all gradients.
#[test]
fn lora_is_the_sum_of_its_parts() {
    type Graph = Autodiff<Flex>;
    let (rows, input, output, rank) = (37, 96, 130, 8);
    let shapes = [
        [rows, input],
        [output, input],
        [rank, input],
        [output, rank],
        [rows, output],
    ];
    for dropout in [None, Some(Dropout { rate: 0.1, seed: 3 })] {
        let [x, weight, a, b, grad] = shapes.map(|shape| random(shape, DType::F32));
        let bias = random([output], DType::F32);
        let run = |in_one: bool| {
            let leaf = |tensor: &FlexTensor| {
                let tensor = Tensor::<Graph, 2>::from_inner(wrap(tensor));
                tensor.require_grad()
            };
            let [x, weight, a, b] = [&x, &weight, &a, &b].map(leaf);
            let bias = Tensor::<Graph, 1>::from_inner(wrap(&bias)).require_grad();
            let inputs = [x.clone(), weight.clone(), a.clone(), b.clone()];
            let factors = LoraFactors {
                a: a.clone(),
                b: b.clone(),
                scaling: 0.5,
                dropout,
            };
            let output = match in_one {
                true => lora(x, weight, Some(bias.clone()), factors),
                false => {
                    let dropped = match dropout {
                        Some(dropout) => glmtune_model::layers::dropout(x.clone(), dropout),
                        None => x.clone(),
                    };
                    let up = linear_layer(linear_layer(dropped, a, None), b, None);
                    linear_layer(x, weight, Some(bias.clone())) + up.mul_scalar(0.5)
                }
            };
            let loss = (output.clone() * Tensor::from_inner(wrap(&grad))).sum();
            let grads = loss.backward();
            let mut found = vec![output.inner()];
            found.extend(inputs.iter().map(|input| input.grad(&grads).unwrap()));
            let bias = bias.grad(&grads).unwrap().unsqueeze::<2>();
            found.push(bias);
            found
        };
        let names = ["output", "x", "weight", "A", "B", "bias"];
        for ((found, expected), name) in run(true).into_iter().zip(run(false)).zip(names) {
            let [found, expected] = [found, expected].map(|x| x.into_primitive().tensor());
            let what = format!("{name}, {dropout:?}");
            assert_close::<2>(&what, DType::F32, found, expected);
        }
    }
}

/// Gradients of the parts lie where the parts lay, and those of a part that nothing reads are zero.
#[test]
fn parts_have_their_places_in_the_gradient() {
    type Graph = Autodiff<Flex>;
    let x = random([3, 5, 9], DType::F32);
    for read in [vec![0, 1, 2], vec![2, 0], vec![1]] {
        let run = |in_one: bool| {
            let x = Tensor::<Graph, 3>::from_inner(wrap(&x)).require_grad();
            let all: [Tensor<Graph, 3>; 3] = match in_one {
                true => parts(x.clone(), 2, [4, 3, 2]),
                false => {
                    [(0, 4), (4, 3), (7, 2)].map(|(start, size)| x.clone().narrow(2, start, size))
                }
            };
            let sums = read.iter().map(|&part| {
                let part: Tensor<Graph, 3> = all[part].clone();
                (part.clone() * part.clone() * part).sum()
            });
            let loss = sums.reduce(|a, b| a + b).unwrap();
            let grads = loss.backward();
            x.grad(&grads).unwrap().into_data().to_vec::<f32>().unwrap()
        };
        assert_eq!(run(true), run(false), "{read:?}");
    }
}

fn wrap<const D: usize>(tensor: &FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor.clone()))
}

#[test]
fn linear() {
    for dtype in TYPES {
        for [rows, input, output] in [
            [1, 40, 70],
            [4, 33, 129],
            [5, 64, 64],
            [70, 96, 300],
            [9, 700, 600],
            // More than meet the weight's lines as they are.
            [530, 40, 70],
        ] {
            let (x, weight) = (random([rows, input], dtype), random([output, input], dtype));
            let what = format!("linear {rows}x{input}x{output}");
            // The default multiplies in the type; the fused one always in float32.
            let bias = random([output], dtype);
            let exact_bias = exact::<1>(&bias);
            let found = Flex::glm_linear(x.clone(), weight.clone(), Some(bias));
            let (x, exact_weight) = (exact::<2>(&x), exact::<2>(&weight));
            let expected =
                linear::default::linear::<Flex>(x, exact_weight.clone(), Some(exact_bias));
            assert_close::<2>(&what, dtype, found, expected);
            let grad = random([rows, output], dtype);
            let found = Flex::glm_linear_backward_input(grad.clone(), weight);
            let grad = exact::<2>(&grad);
            let expected = linear::default::linear_backward_input::<Flex>(grad, exact_weight);
            assert_close::<2>(&format!("{what} backward"), dtype, found, expected);
        }
    }
}

#[test]
fn norms() {
    for dtype in TYPES {
        for [rows, width] in [[1, 48], [130, 33], [64, 128]] {
            let (x, grad) = (random([rows, width], dtype), random([rows, width], dtype));
            let (weight, bias) = (random([width], dtype), random([width], dtype));
            let found = Flex::glm_rms_norm(x.clone(), weight.clone(), 1e-5);
            let expected = norm::default::rms_norm::<Flex>(x.clone(), weight.clone(), 1e-5);
            assert_close::<2>("rms_norm", dtype, found, expected);
            let found = Flex::glm_layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let expected = norm::default::layer_norm::<Flex>(x.clone(), weight.clone(), bias, 1e-5);
            assert_close::<2>("layer_norm", dtype, found, expected);
            let found = Flex::glm_rms_norm_backward(
                x.clone(),
                weight.clone(),
                1e-5,
                grad.clone(),
                None,
                true,
            );
            let expected = norm::default::rms_norm_backward::<Flex>(x, weight, 1e-5, grad, true);
            assert_close::<2>("rms_norm backward", dtype, found.0, expected.0);
            assert_close::<1>(
                "rms_norm weight's gradient",
                dtype,
                found.1.unwrap(),
                expected.1.unwrap(),
            );
        }
    }
}

#[test]
fn activations() {
    for dtype in TYPES {
        for [rows, width] in [[1, 48], [130, 66], [3, 10_000]] {
            let (x, half) = (
                random([rows, width], dtype),
                random([rows, width / 2], dtype),
            );
            let found = Flex::glm_swiglu(x.clone());
            assert_close::<2>(
                "swiglu",
                dtype,
                found,
                activation::default::swiglu::<Flex>(x.clone()),
            );
            let found = Flex::glm_swiglu_backward(x.clone(), half.clone());
            let expected = activation::default::swiglu_backward::<Flex>(x.clone(), half);
            assert_close::<2>("swiglu backward", dtype, found, expected);
            let found = Flex::glm_gelu_tanh(x.clone());
            assert_close::<2>(
                "gelu_tanh",
                dtype,
                found,
                activation::default::gelu_tanh::<Flex>(x.clone()),
            );
            let grad = random([rows, width], dtype);
            let found = Flex::glm_gelu_tanh_backward(x.clone(), grad.clone());
            let expected = activation::default::gelu_tanh_backward::<Flex>(x, grad);
            assert_close::<2>("gelu_tanh backward", dtype, found, expected);
        }
    }
}

#[test]
fn rotary() {
    for dtype in TYPES {
        for (pairs, count) in [(RotaryPairs::Interleaved, 8), (RotaryPairs::TwoHalves, 16)] {
            for rows in [1, 2] {
                let x = random([2, 5, 3, 32], dtype);
                let (cos, sin) = (
                    random([rows, 5, count], DType::F32),
                    random([rows, 5, count], DType::F32),
                );
                for direction in [Direction::Forward, Direction::Inverse] {
                    let found =
                        Flex::glm_rotary(x.clone(), cos.clone(), sin.clone(), pairs, direction);
                    let expected = rotary::default::rotary::<Flex>(
                        x.clone(),
                        cos.clone(),
                        sin.clone(),
                        pairs,
                        direction,
                    );
                    assert_close::<4>(&format!("rotary {pairs:?}"), dtype, found, expected);
                }
            }
        }
    }
}

/// Masks with and without prefix, padding, a bidirectional context, and a cache before the queries.
#[test]
fn attention() {
    for [queries, keys, prefix, start, context] in [
        [1, 9, 0, 0, 0],
        [1, 130, 3, 2, 0],
        [70, 70, 0, 0, 0],
        [130, 135, 5, 3, 0],
        [70, 70, 0, 0, 40],
        [3, 80, 7, 1, 0],
    ] {
        let first = keys - prefix - queries;
        let visible = (0..2).flat_map(|row| {
            (first..first + queries).map(move |index| {
                let start = if row == 0 { 0 } else { start };
                if index < start {
                    (index, index + 1)
                } else {
                    (start, (index + 1).max(context))
                }
            })
        });
        let spec = MaskSpec {
            prefix,
            keys,
            queries,
            visible: visible.map(|(from, to)| (from as u32, to as u32)).collect(),
        };
        for dtype in TYPES {
            for [heads, groups] in [[4, 2], [3, 3], [6, 1]] {
                // Those of a cache have room behind them.
                let cached = |room: usize| {
                    let buffer = random([2, keys + room, groups, 16], dtype);
                    let buffer = Tensor::<Flex, 4>::from_primitive(TensorPrimitive::Float(buffer));
                    buffer.narrow(1, room / 2, keys).into_primitive().tensor()
                };
                let input = AttentionInput::<Flex> {
                    query: random([2, queries, heads, 16], dtype),
                    key: cached(0),
                    value: cached(6),
                    mask: AttentionMask::new(spec.clone(), &FlexDevice),
                    scale: AttentionScale::new(16, 3.0),
                };
                let exact_input = AttentionInput::<Flex> {
                    query: exact::<4>(&input.query),
                    key: exact::<4>(&input.key),
                    value: exact::<4>(&input.value),
                    ..input.clone()
                };
                let what = format!("attention {queries}x{keys}, prefix {prefix}, {heads}/{groups}");
                let found = Flex::glm_attention(input.clone());
                let expected = attention::default::attention::<Flex>(exact_input.clone());
                assert_close::<4>(&what, dtype, found.output.clone(), expected.output.clone());
                let sums = (found.log_sum_exp.clone(), expected.log_sum_exp.clone());
                assert_close::<3>(&format!("{what}: sums"), dtype, sums.0, sums.1);
                let grad = random([2, queries, heads, 16], dtype);
                let exact_grad = exact::<4>(&grad);
                let found = Flex::glm_attention_backward(input, found, grad);
                let expected = attention::default::attention_backward::<Flex>(
                    exact_input,
                    expected,
                    exact_grad,
                );
                assert_close::<4>(&format!("{what}: queries"), dtype, found.0, expected.0);
                assert_close::<4>(&format!("{what}: keys"), dtype, found.1, expected.1);
                assert_close::<4>(&format!("{what}: values"), dtype, found.2, expected.2);
            }
        }
    }
}

/// A handle on the same elements.
fn copy(tensor: &FlexTensor) -> FlexTensor {
    tensor.clone()
}

#[test]
fn head_loss() {
    let wanted = HeadGradients {
        hidden: true,
        weight: true,
        adapter: true,
        scale: 3.0,
    };
    // The last size has several chunks of rows.
    for [rows, width, vocabulary] in [[1, 16, 40], [9, 33, 300], [40, 8, 1_200_000]] {
        let hidden = random([rows, width], DType::F32);
        let weight = random([vocabulary, width], DType::F32);
        let targets: Vec<i32> = (0..rows).map(|row| (row * 7 % vocabulary) as i32).collect();
        let targets = Tensor::<Flex, 1, burn::tensor::Int>::from_ints(&targets[..], &FlexDevice);
        let targets = targets.into_primitive();
        let (low, up) = (
            random([rows, 3], DType::F32),
            random([vocabulary, 3], DType::F32),
        );
        for has_adapter in [false, true] {
            let adapter = || {
                let (low, up) = (copy(&low), copy(&up));
                has_adapter.then_some(HeadAdapter { low, up })
            };
            let (hidden, weight, targets) = (copy(&hidden), copy(&weight), targets.clone());
            let found = Flex::glm_head_loss(
                copy(&hidden),
                copy(&weight),
                adapter(),
                targets.clone(),
                wanted,
            );
            let expected =
                head_loss::default::head_loss::<Flex>(hidden, weight, adapter(), targets, wanted);
            assert_close::<1>("head loss", DType::F32, found.loss, expected.loss);
            let mut pairs = vec![
                (found.grad_hidden, expected.grad_hidden),
                (found.grad_weight, expected.grad_weight),
            ];
            assert_eq!(found.grad_adapter.is_some(), has_adapter);
            if let (Some(found), Some(expected)) = (found.grad_adapter, expected.grad_adapter) {
                pairs.push((Some(found.low), Some(expected.low)));
                pairs.push((Some(found.up), Some(expected.up)));
            }
            for (found, expected) in pairs {
                let (found, expected) = (found.unwrap(), expected.unwrap());
                assert_close::<2>("head loss gradient", DType::F32, found, expected);
            }
        }
    }
}

#[test]
fn dropout() {
    let settings = Dropout {
        rate: 0.3,
        seed: 99,
    };
    for dtype in TYPES {
        let x = random([70, 1000], dtype);
        let found = Flex::glm_dropout(x.clone(), settings);
        let expected = dropout::default::dropout::<Flex>(x, settings);
        assert_close::<2>("dropout", dtype, found, expected);
    }
}

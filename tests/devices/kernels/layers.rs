//! The kernels of the leaf operations.

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Int, Shape, Tensor, TensorData, TensorPrimitive};
use glmtune::model::layers::ops::activation;
use glmtune::model::layers::ops::dropout::{self, Dropout};
use glmtune::model::layers::ops::head_loss::{self, HeadAdapter, HeadGradients, HeadLossOps};
use glmtune::model::layers::ops::heads::{self, HeadAngles, HeadCut};
use glmtune::model::layers::ops::norm;
use glmtune::model::layers::ops::rotary::{self, Direction, RotaryPairs};
use glmtune::training::TrainingBackend;

use super::{Trial, assert_close, floats, kernel_tests, primitive};

kernel_tests!(
    dropout,
    rms_norm,
    residual_rms_norm,
    layer_norm,
    swiglu,
    gelu,
    rotary,
    heads,
    head_loss,
    head_loss_backward,
    head_loss_by_parts
);

/// Rows and widths: one element, odd ones, more rows than a block of a gradient has, more vectors than a cube has
/// units.
const SIZES: [[usize; 2]; 7] = [
    [1, 1],
    [3, 7],
    [5, 33],
    [130, 64],
    [33, 129],
    [2, 4096],
    [3, 1030],
];

fn dropout<B: TrainingBackend>(mut trial: Trial<B>) {
    let settings = [
        (0.1, 1),
        (0.5, 0xfedc_ba98_7654_3210),
        (0.0, 7),
        (0.97, u64::MAX),
    ];
    for dtype in trial.types() {
        for shape in [[1, 1, 1], [3, 5, 7], [2, 33, 128], [1, 1, 100_003]] {
            for (rate, seed) in settings {
                let x = trial.random(shape, dtype);
                let dropout = Dropout { rate, seed };
                let values = floats::<B, 3>(x.clone());
                let found = floats::<B, 3>(B::glm_dropout(x.clone(), dropout));
                let expected = floats::<B, 3>(dropout::default::dropout::<B>(x, dropout));
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let what = format!("{shape:?}, {dtype:?}, {dropout:?}, element {index}");
                    assert_eq!(*found == 0.0, *expected == 0.0, "{what}");
                    match dtype {
                        DType::F32 => assert_eq!(found, expected, "{what}: {}", values[index]),
                        // The default rounds the factor too.
                        _ => assert!((found - expected).abs() <= 2e-2 * expected.abs(), "{what}"),
                    }
                }
            }
        }
    }
}

fn rms_norm<B: TrainingBackend>(mut trial: Trial<B>) {
    for (size, dtype) in cases(&trial) {
        let weight = trial.random([size[1]], dtype);
        for x in inputs(&mut trial, size, dtype) {
            let what = format!("rms_norm {size:?}");
            let found = B::glm_rms_norm(x.clone(), weight.clone(), 1e-5);
            let expected = norm::default::rms_norm::<B>(x.clone(), weight.clone(), 1e-5);
            assert_close::<B, 2>(&what, dtype, found, expected);

            let (grad, weight) = (trial.random(size, dtype), weight.clone());
            let backward = |residual, wants_weight| {
                let (x, weight, grad) = (x.clone(), weight.clone(), grad.clone());
                B::glm_rms_norm_backward(x, weight, 1e-5, grad, residual, wants_weight)
            };
            let (found, found_weight) = backward(None, true);
            let (alone, none) = backward(None, false);
            assert!(none.is_none());
            assert_eq!(floats::<B, 2>(found.clone()), floats::<B, 2>(alone));
            let residual = trial.random(size, dtype);
            let (added, _) = backward(Some(residual.clone()), true);
            // What nobody else holds is written in its place.
            let (in_place, _) = backward(Some(copy::<B>(&residual)), true);
            assert_eq!(floats::<B, 2>(added.clone()), floats::<B, 2>(in_place));
            let (expected, expected_weight) =
                norm::default::rms_norm_backward::<B>(x.clone(), weight, 1e-5, grad, true);
            let sum = norm::default::onto::<B>(Some(residual), expected.clone());
            assert_close::<B, 2>(&format!("{what}, backward onto"), dtype, added, sum);
            assert_close::<B, 2>(&format!("{what}, backward"), dtype, found, expected);
            assert_close::<B, 1>(
                &format!("{what}, gradient of the weight"),
                dtype,
                found_weight.unwrap(),
                expected_weight.unwrap(),
            );
        }
    }
}

fn residual_rms_norm<B: TrainingBackend>(mut trial: Trial<B>) {
    for (size, dtype) in cases(&trial) {
        let weight = trial.random([size[1]], dtype);
        for x in inputs(&mut trial, size, dtype) {
            for y in inputs(&mut trial, size, dtype) {
                let (x, weight) = (x.clone(), weight.clone());
                let expected = norm::default::residual_rms_norm::<B>(
                    x.clone(),
                    y.clone(),
                    weight.clone(),
                    1e-5,
                );
                let kept = floats::<B, 2>(y.clone());
                let found = B::glm_residual_rms_norm(x.clone(), y.clone(), weight.clone(), 1e-5);
                assert_eq!(floats::<B, 2>(y.clone()), kept);
                let what = format!("residual_rms_norm {size:?}");
                assert_close::<B, 2>(&format!("{what}, sum"), dtype, found.0, expected.0.clone());
                assert_close::<B, 2>(&what, dtype, found.1, expected.1);
                let in_place = B::glm_residual_rms_norm(x, copy::<B>(&y), weight, 1e-5);
                assert_close::<B, 2>(&what, dtype, in_place.0, expected.0);
            }
        }
    }
}

/// The same values in memory that nobody else holds.
fn copy<B: Backend>(x: &FloatTensor<B>) -> FloatTensor<B> {
    let tensor = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(x.clone()));
    primitive(Tensor::<B, 2>::from_data(
        tensor.clone().into_data(),
        (&tensor.device(), tensor.dtype()),
    ))
}

fn layer_norm<B: TrainingBackend>(mut trial: Trial<B>) {
    for (size, dtype) in cases(&trial) {
        let weight = trial.random([size[1]], dtype);
        let bias = trial.random([size[1]], dtype);
        for x in inputs(&mut trial, size, dtype) {
            let what = format!("layer_norm {size:?}");
            let (weight, bias) = (weight.clone(), bias.clone());
            let found = B::glm_layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let expected = norm::default::layer_norm::<B>(x.clone(), weight.clone(), bias, 1e-5);
            assert_close::<B, 2>(&what, dtype, found, expected);

            let grad = trial.random(size, dtype);
            let (found, found_others) =
                B::glm_layer_norm_backward(x.clone(), weight.clone(), 1e-5, grad.clone(), true);
            let (expected, expected_others) =
                norm::default::layer_norm_backward::<B>(x, weight, 1e-5, grad, true);
            assert_close::<B, 2>(&format!("{what}, backward"), dtype, found, expected);
            let (found, expected) = (found_others.unwrap(), expected_others.unwrap());
            let what = format!("{what}, gradient of");
            assert_close::<B, 1>(&format!("{what} weight"), dtype, found.0, expected.0);
            assert_close::<B, 1>(&format!("{what} bias"), dtype, found.1, expected.1);
        }
    }
}

fn swiglu<B: TrainingBackend>(mut trial: Trial<B>) {
    for ([rows, width], dtype) in cases(&trial) {
        for x in inputs(&mut trial, [rows, 2 * width], dtype) {
            let what = format!("swiglu {rows}x{width}");
            let found = B::glm_swiglu(x.clone());
            let expected = activation::default::swiglu::<B>(x.clone());
            assert_close::<B, 2>(&what, dtype, found, expected);
            let grad = trial.random([rows, width], dtype);
            let found = B::glm_swiglu_backward(x.clone(), grad.clone());
            let expected = activation::default::swiglu_backward::<B>(x, grad);
            assert_close::<B, 2>(&format!("{what}, backward"), dtype, found, expected);
        }
    }
}

fn gelu<B: TrainingBackend>(mut trial: Trial<B>) {
    for (size, dtype) in cases(&trial) {
        for x in inputs(&mut trial, size, dtype) {
            let what = format!("gelu {size:?}");
            let found = B::glm_gelu_tanh(x.clone());
            let expected = activation::default::gelu_tanh::<B>(x.clone());
            assert_close::<B, 2>(&what, dtype, found, expected);
            let grad = trial.random(size, dtype);
            let found = B::glm_gelu_tanh_backward(x.clone(), grad.clone());
            let expected = activation::default::gelu_tanh_backward::<B>(x, grad);
            assert_close::<B, 2>(&format!("{what}, backward"), dtype, found, expected);
        }
    }
    // Far from zero, where the exponential of the tanh is infinite or zero.
    let far = Tensor::<B, 2>::from_data([[-1e4f32, -60.0, 60.0, 1e4]], &trial.device);
    let found = floats::<B, 2>(B::glm_gelu_tanh(primitive(far)));
    assert_eq!(found, [0.0, 0.0, 60.0, 1e4]);
}

fn rotary<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for (pairs, head_dim, count) in [
            (RotaryPairs::Interleaved, 16, 4),
            (RotaryPairs::Interleaved, 16, 8),
            (RotaryPairs::Interleaved, 7, 2),
            (RotaryPairs::TwoHalves, 16, 8),
            (RotaryPairs::TwoHalves, 12, 6),
        ] {
            for (batch, table_rows) in [(1, 1), (3, 1), (3, 3)] {
                let (tokens, heads) = (5, 3);
                // A part of a fused projection, as the models have it.
                let fused = trial.tensor([batch, tokens, heads, head_dim + 4], dtype);
                let x = primitive(fused.narrow(3, 4, head_dim));
                let table = [table_rows, tokens, count];
                let [cos, sin] = [(); 2].map(|()| trial.random(table, DType::F32));
                for direction in [Direction::Forward, Direction::Inverse] {
                    let (x, cos, sin) = (x.clone(), cos.clone(), sin.clone());
                    let what = format!("{pairs:?} {direction:?} {head_dim} {batch} {table_rows}");
                    let found =
                        B::glm_rotary(x.clone(), cos.clone(), sin.clone(), pairs, direction);
                    let expected = rotary::default::rotary::<B>(x, cos, sin, pairs, direction);
                    assert_close::<B, 4>(&what, dtype, found, expected);
                }
            }
        }
    }
}

/// Queries, keys and values side by side and within each head, turned like any heads.
fn heads<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for (pairs, head_dim, count) in [
            (RotaryPairs::Interleaved, 16, 4),
            (RotaryPairs::Interleaved, 7, 2),
            (RotaryPairs::TwoHalves, 16, 8),
            (RotaryPairs::TwoHalves, 12, 6),
        ] {
            for (cut, shape) in [
                (HeadCut::Joint([5, 2, 2]), [9, head_dim]),
                (HeadCut::Joint([1, 1, 1]), [3, head_dim]),
                (HeadCut::WithinHeads, [3, 3 * head_dim]),
            ] {
                for (batch, table_rows) in [(1, 1), (3, 1), (3, 3)] {
                    let tokens = 5;
                    let shape = [batch, tokens, shape[0], shape[1]];
                    let joint = trial.random(shape, dtype);
                    let table = [table_rows, tokens, count];
                    let [cos, sin] = [(); 2].map(|()| trial.random(table, DType::F32));
                    let angles = HeadAngles::<B> { cos, sin, pairs };
                    let what = format!("{pairs:?} {cut:?} {head_dim} {batch} {table_rows}");
                    let found = B::glm_heads(joint.clone(), cut, angles.clone());
                    let expected = heads::default::heads::<B>(joint, cut, angles.clone());
                    for (found, expected) in found.into_iter().zip(expected) {
                        assert_close::<B, 4>(&what, dtype, found, expected);
                    }
                    let (axis, sizes) = cut.along(shape[3]);
                    // Parts of wider tensors, as what is cut off a prefix leaves them.
                    let grads = sizes.map(|size| {
                        let mut shape = shape;
                        shape[axis] = size;
                        shape[1] += 2;
                        Some(primitive(trial.tensor(shape, dtype).narrow(1, 2, tokens)))
                    });
                    let [query, _, value] = grads.clone();
                    for grads in [grads, [query, None, value]] {
                        let backward = |of: BackwardOf<B>| {
                            let shape = Shape::new(shape);
                            of(grads.clone(), shape, cut, angles.clone()).unwrap()
                        };
                        let found = backward(B::glm_heads_backward);
                        let expected = backward(heads::default::heads_backward::<B>);
                        let what = format!("{what}, backward");
                        assert_close::<B, 4>(&what, dtype, found, expected);
                    }
                }
            }
        }
    }
}

type BackwardOf<B> =
    fn([Option<FloatTensor<B>>; 3], Shape, HeadCut, HeadAngles<B>) -> Option<FloatTensor<B>>;

fn head_loss<B: TrainingBackend>(mut trial: Trial<B>) {
    for dtype in trial.types() {
        for (rows, vocabulary) in [(1, 3), (5, 33), (7, 2100)] {
            let hidden = trial.random([rows, 8], dtype);
            let weight = trial.random([vocabulary, 8], dtype);
            let adapter = HeadAdapter::<B> {
                low: trial.random([rows, 2], dtype),
                up: trial.random([vocabulary, 2], dtype),
            };
            let targets = targets::<B>(rows, vocabulary, &trial.device);
            let wanted = HeadGradients {
                hidden: true,
                weight: true,
                adapter: true,
                scale: 3.0,
            };
            let adapter = Some(adapter);
            let found = B::glm_head_loss(
                hidden.clone(),
                weight.clone(),
                adapter.clone(),
                targets.clone(),
                wanted,
            );
            let expected =
                head_loss::default::head_loss::<B>(hidden, weight, adapter, targets, wanted);
            let what = |of: &str| format!("head_loss {rows}x{vocabulary}, {of}");
            assert_close::<B, 1>(&what("loss"), DType::F32, found.loss, expected.loss);
            let (ours, theirs) = (found.grad_adapter.unwrap(), expected.grad_adapter.unwrap());
            for (of, found, expected) in [
                ("hidden", found.grad_hidden, expected.grad_hidden),
                ("weight", found.grad_weight, expected.grad_weight),
                ("low", Some(ours.low), Some(theirs.low)),
                ("up", Some(ours.up), Some(theirs.up)),
            ] {
                assert_close::<B, 2>(&what(of), dtype, found.unwrap(), expected.unwrap());
            }
        }
    }
}

fn head_loss_backward<B: TrainingBackend>(mut trial: Trial<B>) {
    let grad = Tensor::<B, 1>::from_data([1.7f32], (&trial.device, DType::F32));
    for dtype in trial.types() {
        for shape in SIZES {
            let (own, grad) = (trial.random(shape, dtype), primitive(grad.clone()));
            let kept = own.clone();
            let found = B::glm_head_loss_backward(own.clone(), grad.clone());
            let expected = head_loss::default::backward::<B>(own, grad.clone());
            let what = format!("head_loss_backward {shape:?}");
            assert_close::<B, 2>(&what, dtype, found, expected.clone());
            // What nobody else holds is written in its place.
            let found = B::glm_head_loss_backward(kept, grad);
            assert_close::<B, 2>(&what, dtype, found, expected);
        }
    }
}

/// More rows than those whose logits exist at once, against the CPU.
fn head_loss_by_parts<B: TrainingBackend>(mut trial: Trial<B>) {
    use burn_flex::{Flex, FlexDevice};

    let (rows, vocabulary) = (4100, 4096);
    let wanted = HeadGradients {
        hidden: true,
        weight: false,
        adapter: false,
        scale: 1.0,
    };
    let hidden = trial.random([rows, 8], DType::F32);
    let weight = trial.random([vocabulary, 8], DType::F32);
    let on_cpu = |tensor: &FloatTensor<B>, shape: [usize; 2]| {
        let data = TensorData::new(floats::<B, 2>(tensor.clone()), shape);
        primitive(Tensor::<Flex, 2>::from_data(data, &FlexDevice))
    };
    let expected = Flex::glm_head_loss(
        on_cpu(&hidden, [rows, 8]),
        on_cpu(&weight, [vocabulary, 8]),
        None,
        targets::<Flex>(rows, vocabulary, &FlexDevice),
        wanted,
    );
    let targets = targets::<B>(rows, vocabulary, &trial.device);
    let found = B::glm_head_loss(hidden, weight, None, targets, wanted);
    let (loss, expected_loss) = (floats::<B, 1>(found.loss), floats::<Flex, 1>(expected.loss));
    assert!((loss[0] - expected_loss[0]).abs() <= 1e-5 * expected_loss[0]);
    let grad = floats::<B, 2>(found.grad_hidden.unwrap());
    let expected = floats::<Flex, 2>(expected.grad_hidden.unwrap());
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    for (index, (a, b)) in grad.iter().zip(&expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-5 * largest,
            "element {index}: {a} and {b}"
        );
    }
}

/// Targets from all over a vocabulary.
fn targets<B: Backend>(rows: usize, vocabulary: usize, device: &B::Device) -> IntTensor<B> {
    let targets = (0..rows).map(|row| (row * 7919 % vocabulary) as i32);
    let targets = TensorData::new(targets.collect::<Vec<i32>>(), [rows]);
    Tensor::<B, 1, Int>::from_data(targets, device).into_primitive()
}

/// Every size in every type.
fn cases<B: TrainingBackend>(trial: &Trial<B>) -> Vec<([usize; 2], DType)> {
    let types = trial.types();
    let sizes = SIZES.into_iter();
    sizes
        .flat_map(|size| types.iter().map(move |&dtype| (size, dtype)))
        .collect()
}

/// Matrices of a size: contiguous, by columns, and a part of a wider one.
fn inputs<B: TrainingBackend>(
    trial: &mut Trial<B>,
    [rows, columns]: [usize; 2],
    dtype: DType,
) -> [FloatTensor<B>; 3] {
    let wider = trial.random([rows, columns + 3], dtype);
    let wider = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(wider));
    [
        trial.random([rows, columns], dtype),
        trial.columns([rows, columns], dtype),
        primitive(wider.narrow(1, 2, columns)),
    ]
}

//! LoRA's thin products.

use burn::tensor::DType;
use burn::tensor::ops::FloatTensor;
use glmtune::model::layers::ops::dropout::Dropout;
use glmtune::model::layers::ops::lora::{LoraKept, LoraLayer, default};
use glmtune::training::TrainingBackend;

use super::{Trial, assert_close, floats, kernel_tests};

kernel_tests!(lora, lora_of_what_is_trained);

/// Rows, widths of input and output, rank: few, odd ones, more rows, columns and ranks than a cube has. More than one
/// element, so that one whose sums cancel is not alone the measure of their rounding.
const SIZES: [[usize; 4]; 5] = [
    [2, 3, 4, 1],
    [3, 7, 5, 2],
    [70, 33, 129, 8],
    [19, 1030, 260, 17],
    [9, 512, 768, 40],
];

/// A layer of a size, whose factors have a type of their own.
fn layer<B: TrainingBackend>(
    trial: &mut Trial<B>,
    [rows, input, output, rank]: [usize; 4],
    [dtype, factors]: [DType; 2],
) -> LoraLayer<B> {
    LoraLayer {
        x: trial.random([rows, input], dtype),
        weight: trial.random([output, input], dtype),
        bias: None,
        a: trial.random([rank, input], factors),
        b: trial.random([output, rank], factors),
        scaling: 0.5,
        dropout: None,
    }
}

fn lora<B: TrainingBackend>(mut trial: Trial<B>) {
    for (dtype, size) in cases(&trial) {
        for (rate, has_bias) in [(0.0, false), (0.1, true)] {
            // Masters in float32; an adapter that was loaded has the compute type.
            let factors = if has_bias { DType::F32 } else { dtype };
            let mut layer = layer(&mut trial, size, [dtype, factors]);
            layer.bias = has_bias.then(|| trial.random([size[2]], dtype));
            layer.dropout = (rate > 0.0).then_some(Dropout {
                rate,
                seed: 1 << 40,
            });
            let grad = trial.random([size[0], size[2]], dtype);
            let what = format!("{size:?}, factors in {factors:?}, dropout {rate}");
            same_passes(&what, dtype, layer, grad);
        }
    }
}

fn cases<B: TrainingBackend>(trial: &Trial<B>) -> Vec<(DType, [usize; 4])> {
    let types = trial.types().into_iter();
    types
        .flat_map(|dtype| SIZES.map(|size| (dtype, size)))
        .collect()
}

/// The default computes in float32 what the kernel is given: it would round in between.
fn same_passes<B: TrainingBackend>(
    what: &str,
    dtype: DType,
    layer: LoraLayer<B>,
    grad: FloatTensor<B>,
) {
    let exact = |x: &FloatTensor<B>| B::float_cast(x.clone(), DType::F32.into());
    let widened = LoraLayer::<B> {
        x: exact(&layer.x),
        weight: exact(&layer.weight),
        bias: layer.bias.as_ref().map(exact),
        a: exact(&layer.a),
        b: exact(&layer.b),
        scaling: layer.scaling,
        dropout: layer.dropout,
    };
    let found = B::glm_lora(layer.clone());
    let expected = default::lora::<B>(widened.clone());
    let low = found.low.clone();
    let pairs = [
        ("output", found.output, expected.output),
        ("low", found.low, expected.low),
    ];
    for (of, found, expected) in pairs {
        assert_close::<B, 2>(&format!("{what}, {of}"), dtype, found, expected);
    }

    let kept = all_kept::<B>(&layer, &low);
    let found = B::glm_lora_backward(kept.clone(), grad.clone());
    let again = B::glm_lora_backward(kept, grad.clone());
    let expected = default::lora_backward::<B>(all_kept::<B>(&widened, &exact(&low)), exact(&grad));
    for (of, found, again, expected) in [
        ("x", found.x, again.x, expected.x),
        ("A", found.a, again.a, expected.a),
        ("B", found.b, again.b, expected.b),
    ] {
        let what = format!("{what}, gradient of {of}");
        let (found, again) = (found.unwrap(), again.unwrap());
        let bits = [&found, &again].map(|x| floats::<B, 2>(x.clone()));
        assert_eq!(bits[0], bits[1], "{what}");
        assert_close::<B, 2>(&what, dtype, found, expected.unwrap());
    }
}

/// All that a backward pass can need.
fn all_kept<B: TrainingBackend>(layer: &LoraLayer<B>, low: &FloatTensor<B>) -> LoraKept<B> {
    LoraKept {
        x: Some(layer.x.clone()),
        low: Some(low.clone()),
        weight: Some(layer.weight.clone()),
        a: layer.a.clone(),
        b: layer.b.clone(),
        scaling: layer.scaling,
        dropout: layer.dropout,
    }
}

/// What is not kept is not computed.
fn lora_of_what_is_trained<B: TrainingBackend>(mut trial: Trial<B>) {
    let layer = layer(&mut trial, [5, 33, 17, 4], [DType::F32; 2]);
    let low = B::glm_lora(layer.clone()).low;
    let grad = trial.random([5, 17], DType::F32);
    for wanted in [
        [true, false, false],
        [false, true, false],
        [false, false, true],
    ] {
        let [x, a, b] = wanted;
        let mut kept = all_kept::<B>(&layer, &low);
        kept.x = kept.x.filter(|_| a);
        kept.low = kept.low.filter(|_| b);
        kept.weight = kept.weight.filter(|_| x);
        let found = B::glm_lora_backward(kept, grad.clone());
        let are = [found.x.is_some(), found.a.is_some(), found.b.is_some()];
        assert_eq!(are, wanted);
    }
}

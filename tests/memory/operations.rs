//! What each operation declares of its memory, against what the allocator counts.
//!
//! A case runs twice: with tensors, and with what stands for them in a trace. An operation that changes what it
//! holds or keeps and not what it says of itself fails here, and so does one that says nothing.

use std::collections::BTreeSet;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, Int, Shape, Slice, Tensor};
use burn_flex::{Flex, FlexDevice};
use glmtune::model::layers::memory::{self, AttentionSizes, HeadTerm, TracedLora};
use glmtune::model::layers::ops::activation::ActivationOps;
use glmtune::model::layers::ops::attention::{AttentionInput, AttentionOps, AttentionScale};
use glmtune::model::layers::ops::cache::CacheOps;
use glmtune::model::layers::ops::cache::memory::cache_write;
use glmtune::model::layers::ops::dropout::{Dropout, DropoutOps};
use glmtune::model::layers::ops::head_loss::{HeadAdapter, HeadGradients, HeadLossOps};
use glmtune::model::layers::ops::heads::{HeadAngles, HeadCut, HeadsOps};
use glmtune::model::layers::ops::linear::LinearOps;
use glmtune::model::layers::ops::lora::{LoraLayer, LoraOps};
use glmtune::model::layers::ops::norm::NormOps;
use glmtune::model::layers::ops::parts::PartsOps;
use glmtune::model::layers::ops::residual::ResidualOps;
use glmtune::model::layers::ops::rotary::{Direction, RotaryOps, RotaryPairs};
use glmtune::model::layers::{AttentionMask, MaskSpec};
use glmtune::model::memory::{Compute, Kernels, Trace, Traced};
use glmtune::model::memory::{add, cat, mul_scalar, narrow, select, tanh};

use super::allocator;

type Graph = Autodiff<Flex>;
type Float = FloatTensor<Graph>;

/// A call of an operation.
type Call = Box<dyn Fn(Vec<Float>) -> Float>;

/// The same call, where only memory is counted.
type Declaration = Box<dyn Fn(&Trace, Vec<Traced>) -> Traced>;

/// A declaration holds within this share, or this many bytes: nodes of the graph, and what the library of matrix
/// products packs.
const SHARE: f64 = 0.03;
const BYTES: usize = 200_000;

/// An input of a case.
#[derive(Debug, Clone)]
struct Input {
    shape: Vec<usize>,
    is_tracked: bool,
    /// Whether it shows only a part, from the first of the last axis on, of a tensor this much wider.
    beside: usize,
}

/// A tensor whose gradient is wanted.
fn tracked(shape: &[usize]) -> Input {
    Input {
        is_tracked: true,
        ..constant(shape)
    }
}

/// One whose gradient is not.
fn constant(shape: &[usize]) -> Input {
    Input {
        shape: shape.to_vec(),
        is_tracked: false,
        beside: 0,
    }
}

/// The first part of a wider tensor.
fn part(shape: &[usize], beside: usize) -> Input {
    Input {
        beside,
        ..tracked(shape)
    }
}

impl Input {
    fn elements(shape: &[usize]) -> u64 {
        shape.iter().product::<usize>() as u64
    }

    fn whole(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last += self.beside;
        }
        shape
    }

    fn tensor(&self, dtype: DType) -> Float {
        let whole = Graph::float_zeros(Shape::from(self.whole()), &FlexDevice, float(dtype));
        let whole = Graph::float_set_require_grad(whole, self.is_tracked);
        if self.beside == 0 {
            return whole;
        }
        let ranges = self.shape.iter().map(|&length| Slice::from(0..length));
        Graph::float_slice(whole, &ranges.collect::<Vec<_>>())
    }

    fn traced(&self, trace: &Trace) -> Traced {
        let whole = trace.activation(Self::elements(&self.whole()), self.is_tracked);
        match self.beside {
            0 => whole,
            _ => narrow(trace, whole, Self::elements(&self.shape)),
        }
    }
}

fn float(dtype: DType) -> FloatDType {
    match dtype {
        DType::BF16 => FloatDType::BF16,
        DType::F16 => FloatDType::F16,
        _ => FloatDType::F32,
    }
}

/// A call of an operation, and its declaration.
struct Case {
    /// The method of the operation's trait; a name of Burn's for its own.
    name: &'static str,
    /// What tells it from others of the name.
    what: &'static str,
    inputs: Vec<Input>,
    call: Call,
    declared: Declaration,
}

/// Bytes beside what was there before the inputs.
#[derive(Debug, Default)]
struct Counted {
    /// The most in the forward pass.
    forward: usize,
    /// After it, with the result and without the inputs.
    kept: usize,
    /// The most in the backward pass.
    backward: usize,
}

impl Case {
    fn inputs(&self, dtype: DType) -> Vec<Float> {
        let inputs = self.inputs.iter();
        inputs.map(|input| input.tensor(dtype)).collect()
    }

    fn is_tracked(&self) -> bool {
        self.inputs.iter().any(|input| input.is_tracked)
    }

    fn measured(&self, dtype: DType) -> Counted {
        let mut counted = Counted::default();
        let mut output = None;
        counted.kept = allocator::held_by(|| {
            let mut inputs = None;
            let held = allocator::held_by(|| inputs = Some(self.inputs(dtype)));
            let call = || output = inputs.take().map(&self.call);
            counted.forward = held + allocator::peak_of(call);
        });
        if let Some(output) = output.filter(|_| self.is_tracked()) {
            let backward = || drop(<Graph as AutodiffBackend>::backward(output));
            counted.backward = counted.kept + allocator::peak_of(backward);
        }
        counted
    }

    fn declared(&self, dtype: DType) -> Counted {
        let compute = Compute {
            dtype,
            trained_size: dtype.size() as u64,
            kernels: Kernels::of_this_cpu(),
        };
        let trace = Trace::new(compute, true);
        let inputs = self.inputs.iter().map(|input| input.traced(&trace));
        let output = (self.declared)(&trace, inputs.collect());
        let mut counted = Counted {
            forward: trace.peak().total() as usize,
            kept: trace.live().total() as usize,
            backward: 0,
        };
        if let Some(root) = output.root() {
            trace.restart();
            let gradient = trace.hold(output.elements(), output.size());
            drop(output);
            drop(trace.backward(root, gradient));
            counted.backward = trace.peak().total() as usize;
        }
        counted
    }

    /// What does not agree.
    fn faults(&self, dtype: DType) -> Vec<String> {
        // The first run also fills what threads keep for themselves.
        self.measured(dtype);
        let (measured, declared) = (self.measured(dtype), self.declared(dtype));
        let pairs = [
            ("forward", declared.forward, measured.forward),
            ("kept", declared.kept, measured.kept),
            ("backward", declared.backward, measured.backward),
        ];
        let is_off = |&(_, declared, measured): &(&str, usize, usize)| {
            let allowed = (measured as f64 * SHARE) as usize + BYTES;
            declared.abs_diff(measured) > allowed
        };
        let name = format!("{} {} in {dtype:?}", self.name, self.what);
        let off = pairs.into_iter().filter(is_off);
        off.map(|(pass, declared, measured)| {
            format!("{name}: {pass}: declares {declared} bytes, holds {measured}")
        })
        .collect()
    }
}

fn case(
    (name, what): (&'static str, &'static str),
    inputs: &[Input],
    call: impl Fn(Vec<Float>) -> Float + 'static,
    declared: impl Fn(&Trace, Vec<Traced>) -> Traced + 'static,
) -> Case {
    Case {
        name,
        what,
        inputs: inputs.to_vec(),
        call: Box::new(call),
        declared: Box::new(declared),
    }
}

fn take<const N: usize, T: std::fmt::Debug>(inputs: Vec<T>) -> [T; N] {
    inputs.try_into().unwrap()
}

fn linears() -> Vec<Case> {
    let (rows, input, output) = (4099, 517, 1283);
    let (x, weight, bias) = ([rows, input], [output, input], [output]);
    let with = |what, inputs: [Input; 3]| {
        case(
            ("glm_linear", what),
            &inputs,
            |inputs| {
                let [x, weight, bias] = take(inputs);
                Graph::glm_linear(x, weight, Some(bias))
            },
            move |trace, inputs| {
                let [x, weight, bias] = take(inputs);
                memory::linear(trace, rows as u64, x, weight, Some(bias))
            },
        )
    };
    let frozen = |what, input: usize, output: usize| {
        case(
            ("glm_linear", what),
            &[tracked(&[rows, input]), constant(&[output, input])],
            |inputs| {
                let [x, weight] = take(inputs);
                Graph::glm_linear(x, weight, None)
            },
            move |trace, inputs| {
                let [x, weight] = take(inputs);
                memory::linear(trace, rows as u64, x, weight, None)
            },
        )
    };
    vec![
        with(
            "all trained",
            [tracked(&x), tracked(&weight), tracked(&bias)],
        ),
        with(
            "of a frozen weight",
            [tracked(&x), constant(&weight), constant(&bias)],
        ),
        with(
            "of a constant input",
            [constant(&x), tracked(&weight), constant(&bias)],
        ),
        frozen("of a frozen weight, narrower", output, input),
        // Where pairs of numbers can be multiplied.
        frozen("of even widths", input + 1, output + 1),
    ]
}

fn loras() -> Vec<Case> {
    let (rows, input, output, rank) = (4099, 517, 1283, 16);
    let factors = [&[rank, input], &[output, rank]];
    let with = |what, rate: f64, factors: [Input; 2]| {
        let [a, b] = factors;
        let base = [constant(&[output, input]), constant(&[output])];
        let [weight, bias] = base;
        case(
            ("glm_lora", what),
            &[tracked(&[rows, input]), weight, bias, a, b],
            move |inputs| {
                let [x, weight, bias, a, b] = take(inputs);
                let layer = LoraLayer {
                    x,
                    weight,
                    bias: Some(bias),
                    a,
                    b,
                    scaling: 2.0,
                    dropout: (rate > 0.0).then_some(Dropout { rate, seed: 7 }),
                };
                Graph::glm_lora(layer).output
            },
            move |trace, inputs| {
                let [x, weight, bias, a, b] = take(inputs);
                let layer = TracedLora {
                    rows: rows as u64,
                    x,
                    weight,
                    bias: Some(bias),
                    factors: [a, b],
                    drops: rate > 0.0,
                };
                memory::lora(trace, layer)
            },
        )
    };
    vec![
        with("without dropout", 0.0, factors.map(|shape| tracked(shape))),
        with("with dropout", 0.1, factors.map(|shape| tracked(shape))),
        with("not trained", 0.0, factors.map(|shape| constant(shape))),
    ]
}

fn norms() -> Vec<Case> {
    let (x, width) = ([3001, 509], [509]);
    vec![
        case(
            ("glm_rms_norm", ""),
            &[tracked(&x), tracked(&width)],
            |inputs| {
                let [x, weight] = take(inputs);
                Graph::glm_rms_norm(x, weight, 1e-5)
            },
            |trace, inputs| {
                let [x, weight] = take(inputs);
                memory::rms_norm(trace, x, weight)
            },
        ),
        case(
            ("glm_residual_rms_norm", ""),
            &[tracked(&x), tracked(&x), tracked(&width)],
            |inputs| {
                let [x, y, weight] = take(inputs);
                let (sum, normalized) = Graph::glm_residual_rms_norm(x, y, weight, 1e-5);
                Graph::glm_residual_sum(sum, normalized)
            },
            |trace, inputs| {
                let [x, y, weight] = take(inputs);
                let sum = memory::residual_sum(trace, x, y);
                let normalized = memory::rms_norm(trace, sum.clone(), weight);
                memory::residual_sum(trace, sum, normalized)
            },
        ),
        case(
            ("glm_layer_norm", ""),
            &[tracked(&x), tracked(&width), tracked(&width)],
            |inputs| {
                let [x, weight, bias] = take(inputs);
                Graph::glm_layer_norm(x, weight, bias, 1e-5)
            },
            |trace, inputs| {
                let [x, weight, bias] = take(inputs);
                memory::layer_norm(trace, x, weight, bias)
            },
        ),
    ]
}

fn residuals() -> Vec<Case> {
    let x = [1501, 509];
    let two = [tracked(&x), tracked(&x)];
    vec![
        case(
            ("glm_residual_sum", ""),
            &two,
            |inputs| {
                let [x, y] = take(inputs);
                Graph::glm_residual_sum(x, y)
            },
            |trace, inputs| {
                let [x, y] = take(inputs);
                memory::residual_sum(trace, x, y)
            },
        ),
        case(
            ("glm_residual_sum", "of what others hold"),
            &two,
            |inputs| {
                let [x, y] = take(inputs);
                let sum = Graph::glm_residual_sum(x.clone(), y.clone());
                Graph::glm_residual_sum(x, Graph::glm_residual_sum(y, sum))
            },
            |trace, inputs| {
                let [x, y] = take(inputs);
                let sum = memory::residual_sum(trace, x.clone(), y.clone());
                let sum = memory::residual_sum(trace, y, sum);
                memory::residual_sum(trace, x, sum)
            },
        ),
    ]
}

fn elementwise() -> Vec<Case> {
    let rotated = |x: Float| {
        let table = || Graph::float_zeros(Shape::from([1, 301, 16]), &FlexDevice, FloatDType::F32);
        let pairs = RotaryPairs::Interleaved;
        Graph::glm_rotary(x, table(), table(), pairs, Direction::Forward)
    };
    let one =
        |name, input: Input, call: fn(Float) -> Float, declared: fn(&Trace, Traced) -> Traced| {
            let call = move |inputs| {
                let [x] = take(inputs);
                call(x)
            };
            let declared = move |trace: &Trace, inputs| {
                let [x] = take(inputs);
                declared(trace, x)
            };
            case(name, &[input], call, declared)
        };
    let dropped = |x| Graph::glm_dropout(x, Dropout { rate: 0.1, seed: 7 });
    let (x, heads) = ([1501, 1018], [3, 301, 17, 64]);
    let wide = ("glm_rotary", "of a part of the heads' width");
    vec![
        one(
            ("glm_swiglu", ""),
            tracked(&x),
            Graph::glm_swiglu,
            memory::swiglu,
        ),
        one(
            ("glm_gelu_tanh", ""),
            tracked(&x),
            Graph::glm_gelu_tanh,
            memory::gelu_tanh,
        ),
        one(("glm_dropout", ""), tracked(&x), dropped, memory::dropout),
        one(("glm_rotary", ""), tracked(&heads), rotated, memory::rotary),
        one(wide, part(&heads, 32), rotated, memory::rotary),
    ]
}

fn attentions() -> Vec<Case> {
    let sizes = |batch: usize, queries: usize, keys: usize, beside: usize, what| {
        let (heads, groups, width) = (12, 4, 64);
        let query = tracked(&[batch, queries, heads, width]);
        let lines = [batch, keys, groups, width];
        let inputs = [query, tracked(&lines), part(&lines, beside)];
        let call = move |inputs| {
            let [query, key, value] = take(inputs);
            let spec = MaskSpec {
                prefix: keys - queries,
                keys,
                queries,
                visible: (1..=queries as u32).map(|end| (0, end)).collect(),
            };
            let input = AttentionInput {
                query,
                key,
                value,
                mask: AttentionMask::new(spec, &FlexDevice),
                scale: AttentionScale::new(width, 1.0),
            };
            Graph::glm_attention(input).output
        };
        let declared = move |trace: &Trace, inputs| {
            let sizes = AttentionSizes {
                batch: batch as u64,
                queries: queries as u64,
                keys: keys as u64,
                heads: heads as u64,
                groups: groups as u64,
            };
            memory::attention(trace, sizes, take(inputs))
        };
        case(("glm_attention", what), &inputs, call, declared)
    };
    vec![
        sizes(3, 301, 301, 0, "over the tokens"),
        sizes(2, 417, 449, 0, "after a prefix"),
        sizes(3, 301, 301, 64, "of values that are a part"),
    ]
}

fn heads() -> Vec<Case> {
    // Two chunks of logits, and one.
    [(700, 30_011), (300, 20_011)]
        .into_iter()
        .flat_map(|(rows, vocabulary)| {
            let (width, rank) = (129, 8);
            let wanted = HeadGradients {
                hidden: false,
                weight: false,
                adapter: false,
                scale: 1.0,
            };
            let targets = move || {
                let ids = Tensor::<Graph, 1, Int>::arange(0..rows as i64, &FlexDevice);
                ids.into_primitive()
            };
            let (hidden, weight) = ([rows, width], [vocabulary, width]);
            let plain = move |what, inputs: [Input; 2]| {
                let call = move |inputs| {
                    let [hidden, weight] = take(inputs);
                    Graph::glm_head_loss(hidden, weight, None, targets(), wanted).loss
                };
                let declared = move |trace: &Trace, inputs| {
                    let [x, weight] = take(inputs);
                    memory::head_loss(trace, rows as u64, HeadTerm { x, weight }, None)
                };
                case(("glm_head_loss", what), &inputs, call, declared)
            };
            let adapted = {
                let factors = [tracked(&[rows, rank]), tracked(&[vocabulary, rank])];
                let inputs = [&[tracked(&hidden), constant(&weight)][..], &factors].concat();
                let call = move |inputs| {
                    let [hidden, weight, low, up] = take(inputs);
                    let adapter = Some(HeadAdapter { low, up });
                    Graph::glm_head_loss(hidden, weight, adapter, targets(), wanted).loss
                };
                let declared = move |trace: &Trace, inputs| {
                    let [x, weight, low, up] = take(inputs);
                    let adapter = HeadTerm { x: low, weight: up };
                    let base = HeadTerm { x, weight };
                    memory::head_loss(trace, rows as u64, base, Some(adapter))
                };
                case(
                    ("glm_head_loss", "with an adapter"),
                    &inputs,
                    call,
                    declared,
                )
            };
            [
                plain("all trained", [tracked(&hidden), tracked(&weight)]),
                plain("of a frozen weight", [tracked(&hidden), constant(&weight)]),
                adapted,
            ]
        })
        .collect()
}

/// Queries, keys and values of a joint projection, all of which are read.
fn joint_heads() -> Vec<Case> {
    let (counts, width) = ([5; 3], 64);
    let call = move |inputs| {
        let [joint] = take(inputs);
        let table = || Graph::float_zeros(Shape::from([1, 301, 16]), &FlexDevice, FloatDType::F32);
        let angles = HeadAngles::<Graph> {
            cos: table(),
            sin: table(),
            pairs: RotaryPairs::Interleaved,
        };
        let [query, key, value] = Graph::glm_heads(joint, HeadCut::Joint(counts), angles);
        Graph::float_add(Graph::float_add(query, key), value)
    };
    let declared = move |trace: &Trace, inputs| {
        let [joint] = take(inputs);
        let elements = counts.map(|count| (3 * 301 * count * width) as u64);
        let [query, key, value] = memory::heads(trace, joint, elements);
        let sum = add(trace, query, key);
        add(trace, sum, value)
    };
    let joint = tracked(&[3, 301, 15, width]);
    vec![case(("glm_heads", ""), &[joint], call, declared)]
}

fn parts() -> Vec<Case> {
    let (rows, sizes) = (1501, [170; 3]);
    let with = |what, reads: fn([Float; 3]) -> Float, adds: fn(&Trace, [Traced; 3]) -> Traced| {
        case(
            ("glm_parts", what),
            &[tracked(&[rows, 510])],
            move |inputs| {
                let [x] = take(inputs);
                reads(Graph::glm_parts(x, 1, sizes))
            },
            move |trace, inputs| {
                let [x] = take(inputs);
                adds(
                    trace,
                    memory::parts(trace, x, sizes.map(|size| (rows * size) as u64)),
                )
            },
        )
    };
    vec![
        with(
            "one of which is read",
            |[x, _, _]| Graph::float_mul_scalar(x, 2.0.into()),
            |trace, [x, _, _]| mul_scalar(trace, x),
        ),
        with(
            "all of which are read",
            |parts| {
                let [a, b, c] = parts.map(|x| Graph::float_mul_scalar(x, 2.0.into()));
                Graph::float_add(Graph::float_add(a, b), c)
            },
            |trace, parts| {
                let [a, b, c] = parts.map(|x| mul_scalar(trace, x));
                let sum = add(trace, a, b);
                add(trace, sum, c)
            },
        ),
    ]
}

fn caches() -> Vec<Case> {
    let inputs = [constant(&[2, 1024, 4, 64]), constant(&[2, 301, 4, 64])];
    vec![case(
        ("glm_cache_write", ""),
        &inputs,
        |inputs| {
            let [buffer, new] = take(inputs);
            // What has no graph writes where the cache lies.
            let [buffer, new] = [buffer, new].map(Graph::inner);
            Graph::from_inner(Flex::glm_cache_write(buffer, new, 17))
        },
        |trace, inputs| {
            let [buffer, new] = take(inputs);
            cache_write(trace, buffer, new)
        },
    )]
}

/// Burn's own, as far as blocks call them.
fn burns() -> Vec<Case> {
    let x = [1501, 509];
    let two = [tracked(&x), tracked(&x)];
    vec![
        case(
            ("add", ""),
            &two,
            |inputs| {
                let [a, b] = take(inputs);
                Graph::float_add(a, b)
            },
            |trace, inputs| {
                let [a, b] = take(inputs);
                add(trace, a, b)
            },
        ),
        case(
            ("cat", ""),
            &two,
            |inputs| Graph::float_cat(inputs, 0),
            |trace, inputs| {
                let [a, b] = take(inputs);
                cat(trace, a, b)
            },
        ),
        case(
            ("mul_scalar", "of one that another holds"),
            &[tracked(&x)],
            |inputs| {
                let [x] = take(inputs);
                let scaled = Graph::float_mul_scalar(x.clone(), 2.0.into());
                Graph::float_add(x, scaled)
            },
            |trace, inputs| {
                let [x] = take(inputs);
                let scaled = mul_scalar(trace, x.clone());
                add(trace, x, scaled)
            },
        ),
        case(
            ("tanh", ""),
            &[tracked(&x)],
            |inputs| {
                let [x] = take(inputs);
                Graph::float_tanh(x)
            },
            |trace, inputs| {
                let [x] = take(inputs);
                tanh(trace, x)
            },
        ),
        case(
            ("select", ""),
            &[tracked(&x)],
            |inputs| {
                let [x] = take(inputs);
                let rows = Tensor::<Graph, 1, Int>::arange(0..700, &FlexDevice);
                Graph::float_select(x, 0, rows.into_primitive())
            },
            |trace, inputs| {
                let [x] = take(inputs);
                select(trace, x, 700 * 509)
            },
        ),
    ]
}

/// Every declaration holds.
pub fn operations_hold_what_they_declare() {
    let all = [
        linears(),
        loras(),
        norms(),
        residuals(),
        elementwise(),
        attentions(),
        heads(),
        joint_heads(),
        parts(),
        caches(),
        burns(),
    ];
    let cases: Vec<Case> = all.into_iter().flatten().collect();
    every_operation_is_among(&cases.iter().map(|case| case.name).collect());
    let faults = cases
        .iter()
        .flat_map(|case| [DType::F32, DType::BF16].map(|dtype| case.faults(dtype)));
    let faults: Vec<String> = faults.flatten().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every folder of an operation has its declaration, and every method that is no backward pass is measured.
fn every_operation_is_among(measured: &BTreeSet<&str>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/src/layers/ops");
    let mut operations = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(path.join("mod.rs")) else {
            continue;
        };
        if !text.contains("pub trait ") {
            continue;
        }
        operations += 1;
        let declaration = path.join("memory.rs");
        assert!(
            declaration.is_file(),
            "{} is missing",
            declaration.display()
        );
        for rest in text.split("fn glm_").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let name = format!("glm_{name}");
            // A benchmark asks for the kernels of a product by their names; no pass of a model does.
            let is_of_pass = !name.contains("_backward") && !name.starts_with("glm_product_");
            let is_measured = !is_of_pass || measured.contains(name.as_str());
            assert!(is_measured, "{name} is not measured");
        }
    }
    assert!(operations > 0);
}

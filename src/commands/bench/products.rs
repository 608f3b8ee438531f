//! The products of a model: its linear layers forward, backward through their inputs and for their weights, and the
//! thin ones of LoRA. Where a backend has several kernels for a product, the fastest is found first.

use burn::tensor::{Tensor, TensorPrimitive};
use glmtune_model::causal_lm::segment_paths;
use glmtune_model::layers::linear;
use glmtune_model::layers::ops::linear::kernels::{Pass, ProductClass, kernel};
use glmtune_model::{GlmBackend, Segment};

use super::case::KernelCase;
use super::clock::Clock;
use super::measured::Found;
use super::place::Place;
use super::selection::{self, Product};
use crate::commands::error::Result;
use crate::kernel_table::{self, Measurements};

/// The layer whose LoRA is measured.
const ADAPTED: &str = "query_key_value";
/// Part of the time for finding the fastest kernels.
const SELECTION: f64 = 0.75;

/// A linear layer.
struct Layer {
    name: String,
    input: usize,
    output: usize,
}

/// One of its products.
struct Task<'a> {
    layer: &'a Layer,
    pass: Pass,
    rows: usize,
}

/// Measures them.
///
/// # Errors
/// If the device fails.
pub fn measure<B: GlmBackend>(place: &Place<'_, B>, case: &KernelCase) -> Result<Vec<Found>> {
    let layers = layers(place, case.lora_dim)?;
    let tasks = tasks(&layers, case);
    if !B::glm_product_kernels(1).is_empty() {
        select(place, &tasks)?;
    }
    let count = tasks.len();
    let all = tasks.iter().enumerate();
    all.map(|(index, task)| time(place, task, place.clock.share(count - index)))
        .collect()
}

/// Every product in training and for a prompt, and those of an answer.
fn tasks<'a>(layers: &'a [Layer], case: &KernelCase) -> Vec<Task<'a>> {
    let of = |layer, pass, rows| Task { layer, pass, rows };
    let training = layers
        .iter()
        .flat_map(|layer| Pass::ALL.map(|pass| of(layer, pass, case.tokens)));
    let answers = layers
        .iter()
        .map(|layer| of(layer, Pass::Forward, case.batch_size));
    training.chain(answers).collect()
}

/// Finds the fastest kernels that are not known yet, and lets the model use them.
fn select<B: GlmBackend>(place: &Place<'_, B>, tasks: &[Task<'_>]) -> Result<()> {
    let mut known = Measurements::read()?;
    known.give_up_begun()?;
    let clock = Clock::start(SELECTION * place.clock.left());
    for (index, task) in tasks.iter().enumerate() {
        let share = clock.share(tasks.len() - index);
        let product = operands(place, task, task.rows);
        let fewer = Product::<B>::fewer(task.rows);
        let ragged = fewer.map(|rows| operands(place, task, rows));
        let [lhs, rhs] = product;
        let Layer { input, output, .. } = task.layer;
        let product = Product {
            class: ProductClass::of(task.pass, task.rows, *input, *output),
            lhs,
            rhs,
            ragged,
        };
        selection::choose(place, &mut known, &product, share)?;
        known.write()?;
    }
    kernel_table::install(&[place.selected[0].to_string()]);
    Ok(())
}

/// The layers of the first block, the output layer, and the factors of a LoRA.
fn layers<B: GlmBackend>(place: &Place<'_, B>, lora_dim: usize) -> Result<Vec<Layer>> {
    let segments = segment_paths(&place.info.config);
    let mut layers = Vec::new();
    for info in place.parameters() {
        let (Some(path), [output, input]) = (info.path.strip_suffix(".weight"), &info.shape[..])
        else {
            continue;
        };
        if let Segment::Block(0) | Segment::Head = segments.of(&info.path)? {
            layers.push(Layer {
                name: path.rsplit('.').next().unwrap_or(path).to_string(),
                input: *input,
                output: *output,
            });
        }
    }
    let adapted = layers.iter().find(|layer| layer.name == ADAPTED);
    let factors = adapted.map(|Layer { input, output, .. }| {
        [("lora_A", *input, lora_dim), ("lora_B", lora_dim, *output)]
    });
    let factors = factors.into_iter().flatten();
    layers.extend(factors.map(|(name, input, output)| Layer {
        name: name.to_string(),
        input,
        output,
    }));
    Ok(layers)
}

/// Rows of activations, and what they are multiplied with: a weight, or the gradients of their outputs.
fn factors<B: GlmBackend>(place: &Place<'_, B>, task: &Task<'_>, rows: usize) -> [Tensor<B, 2>; 2] {
    let Layer { input, output, .. } = *task.layer;
    let [first, second] = match task.pass {
        Pass::Forward => [[rows, input], [output, input]],
        Pass::Input => [[rows, output], [output, input]],
        Pass::Weight => [[rows, output], [rows, input]],
    };
    [place.random(first), place.random(second)]
}

/// The two sides of a product, as the model's operations have them.
fn operands<B: GlmBackend>(
    place: &Place<'_, B>,
    task: &Task<'_>,
    rows: usize,
) -> [Tensor<B, 2>; 2] {
    let [first, second] = factors(place, task, rows);
    match task.pass {
        Pass::Forward => [first, second.transpose()],
        Pass::Input => [first, second],
        Pass::Weight => [first.transpose(), second],
    }
}

/// A product as the model computes it.
fn time<B: GlmBackend>(place: &Place<'_, B>, task: &Task<'_>, clock: Clock) -> Result<Found> {
    let Layer {
        name,
        input,
        output,
    } = task.layer;
    let (rows, pass) = (task.rows, task.pass);
    let [first, second] = factors(place, task, rows);
    let class = ProductClass::of(pass, rows, *input, *output);
    let by = kernel(place.dtype, class).map_or(String::new(), |kernel| format!(", {kernel}"));
    let name = format!("{name} {rows}×{input}→{output} {pass}{by}");
    let work = || drop(product(pass, first.clone(), second.clone()));
    let found = clock.repeat_short(&name, work, || place.wait())?;
    let elements = (rows * (input + output) + input * output) as f64;
    let bytes = elements * place.dtype.size() as f64;
    Ok(found.products((rows * input * output) as f64).bytes(bytes))
}

fn product<B: GlmBackend>(pass: Pass, first: Tensor<B, 2>, second: Tensor<B, 2>) -> Tensor<B, 2> {
    let backward = match pass {
        Pass::Forward => return linear(first, second, None),
        Pass::Input => B::glm_linear_backward_input,
        Pass::Weight => B::glm_linear_backward_weight,
    };
    let [first, second] = [first, second].map(|tensor| tensor.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(backward(first, second)))
}

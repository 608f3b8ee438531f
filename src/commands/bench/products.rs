//! The products of a model: its linear layers forward, backward through their inputs and for their weights, and the
//! thin ones of LoRA.

use burn::tensor::{Tensor, TensorPrimitive};
use glmtune_model::causal_lm::segment_paths;
use glmtune_model::layers::linear;
use glmtune_model::{GlmBackend, Segment};

use super::case::KernelCase;
use super::measured::Found;
use super::place::Place;
use crate::commands::error::Result;

/// The layer whose LoRA is measured.
const ADAPTED: &str = "query_key_value";

/// A linear layer.
struct Layer {
    name: String,
    input: usize,
    output: usize,
}

/// Measures them.
///
/// # Errors
/// If the device fails.
pub fn measure<B: GlmBackend>(place: &Place<'_, B>, case: &KernelCase) -> Result<Vec<Found>> {
    let mut layers = layers(place)?;
    let adapted = layers.iter().find(|layer| layer.name == ADAPTED);
    let thin = adapted.map(|Layer { input, output, .. }| {
        [
            ("lora_A", *input, case.lora_dim),
            ("lora_B", case.lora_dim, *output),
        ]
    });
    layers.extend(
        thin.into_iter()
            .flatten()
            .map(|(name, input, output)| Layer {
                name: name.to_string(),
                input,
                output,
            }),
    );
    let count = layers.len();
    let mut all = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        all.extend(of_layer(place, layer, case.tokens, count - index)?);
    }
    Ok(all)
}

/// The layers of the first block, and the output layer.
fn layers<B: GlmBackend>(place: &Place<'_, B>) -> Result<Vec<Layer>> {
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
    Ok(layers)
}

fn of_layer<B: GlmBackend>(
    place: &Place<'_, B>,
    layer: &Layer,
    tokens: usize,
    left: usize,
) -> Result<[Found; 3]> {
    let Layer {
        name,
        input,
        output,
    } = layer;
    let x = place.random([tokens, *input]);
    let grad = place.random([tokens, *output]);
    let weight = place.random([*output, *input]);
    let products = (tokens * input * output) as f64;
    let elements = (tokens * (input + output) + input * output) as f64;
    let bytes = elements * place.dtype.size() as f64;
    let clock = place.clock.share(left);
    let measured = |pass: &str, left: usize, work: &mut dyn FnMut()| -> Result<Found> {
        let name = format!("{name} {tokens}×{input}→{output} {pass}");
        let found = clock
            .share(left)
            .repeat_short(&name, work, || place.wait())?;
        Ok(found.products(products).bytes(bytes))
    };
    let forward = measured("forward", 3, &mut || {
        drop(linear(x.clone(), weight.clone(), None));
    })?;
    let through_input = measured("backward, input", 2, &mut || {
        drop(backward_input(grad.clone(), weight.clone()));
    })?;
    let for_weight = measured("backward, weight", 1, &mut || {
        drop(grad.clone().transpose().matmul(x.clone()));
    })?;
    Ok([forward, through_input, for_weight])
}

fn backward_input<B: GlmBackend>(grad: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [grad, weight] = [grad, weight].map(|tensor| tensor.into_primitive().tensor());
    let found = B::glm_linear_backward_input(grad, weight);
    Tensor::from_primitive(TensorPrimitive::Float(found))
}

//! Prompts and answers: the library's own generation.

use std::ops::ControlFlow;
use std::time::Instant;

use glmtune_model::generation::{GenerationOptions, generate};
use glmtune_model::{CausalLm, GlmBackend};

use super::case::AnswerCase;
use super::measured::Found;
use super::place::Place;
use super::rows;
use crate::commands::error::Result;
use crate::commands::work::Matrices;

/// Measures the pass over prompts: up to the first token of their answers.
///
/// # Errors
/// If the model cannot be loaded, or the device fails.
pub fn prefill<B: GlmBackend>(place: &Place<'_, B>, case: &AnswerCase) -> Result<Found> {
    let (model, prompts) = ready(place, case)?;
    let options = options(1);
    let found = place.clock.repeat("", || {
        generate(&model, &prompts, &options, &mut |_| {
            ControlFlow::Continue(())
        })?;
        Ok(())
    })?;
    let (tokens, rows) = (case.tokens * case.batch_size, case.batch_size as f64);
    let matrices = Matrices::of(&place.info.config, &place.parameters());
    let products = matrices.forward(tokens as f64, rows);
    Ok(found.tokens(tokens).products(products))
}

/// Measures the tokens that follow the first ones.
///
/// # Errors
/// As [`prefill`].
pub fn decode<B: GlmBackend>(place: &Place<'_, B>, case: &AnswerCase) -> Result<Found> {
    let (model, prompts) = ready(place, case)?;
    // The first token belongs to the prompt.
    let options = options(case.new_tokens.saturating_add(1));
    let mut seconds = Vec::new();
    let mut since: Option<Instant> = None;
    generate(&model, &prompts, &options, &mut |event| {
        if event.sequence > 0 {
            return ControlFlow::Continue(());
        }
        seconds.extend(since.map(|since| since.elapsed().as_secs_f64()));
        since = Some(Instant::now());
        match seconds.len() < 2 || place.clock.left() > 0.0 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let matrices = Matrices::of(&place.info.config, &place.parameters());
    let rows = case.batch_size as f64;
    let bytes = matrices.elements() * place.dtype.size() as f64;
    let found = Found::of("", &seconds).tokens(case.batch_size);
    Ok(found.products(matrices.forward(rows, rows)).bytes(bytes))
}

fn ready<B: GlmBackend>(
    place: &Place<'_, B>,
    case: &AnswerCase,
) -> Result<(CausalLm<B>, Vec<Vec<u32>>)> {
    let dtype = place.dtype.try_into()?;
    let model = place
        .info
        .load::<B>(dtype, place.device(), &mut |_, _, _| ())?;
    let prompt = |number| rows::prompt(&place.info.config, case.tokens, number);
    Ok((model, (0..case.batch_size).map(prompt).collect()))
}

/// The likeliest tokens, whatever they are.
fn options(new_tokens: usize) -> GenerationOptions {
    GenerationOptions {
        max_new_tokens: new_tokens,
        ..GenerationOptions::default()
    }
}

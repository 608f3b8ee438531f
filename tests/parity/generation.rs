//! Greedy continuations.

use std::ops::ControlFlow;

use glmtune::model::generation::{Finish, GenerationOptions, Sampling, generate};
use glmtune::model::{CausalLm, GlmBackend};

use crate::backends::{TestBackend, parity_tests};
use crate::fixtures::{Fixtures, model_of_run};

parity_tests!(
    greedy,
    greedy_with_prefix,
    batches_of_different_lengths,
    sampled_sequences
);

fn options(max_new_tokens: usize, use_cache: bool) -> GenerationOptions {
    GenerationOptions {
        max_new_tokens,
        use_cache,
        ..Default::default()
    }
}

fn continuations<B: GlmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    options: &GenerationOptions,
) -> Vec<Vec<u32>> {
    let mut streamed = vec![Vec::new(); prompts.len() * options.num_sequences];
    let generation = generate(model, prompts, options, &mut |event| {
        streamed[event.sequence].push(event.token);
        ControlFlow::Continue(())
    });
    let sequences = generation.unwrap().sequences.into_iter();
    let tokens: Vec<_> = sequences.map(|sequence| sequence.tokens).collect();
    assert_eq!(tokens, streamed, "the stream differs from the result");
    tokens
}

fn greedy<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let prompts = [fixtures.tokens("/greedy/prompt")];
    let expected = fixtures.tokens("/greedy/tokens");
    for use_cache in [true, false] {
        let found = continuations(&model, &prompts, &options(expected.len(), use_cache));
        assert_eq!(found[0], expected, "cache: {use_cache}");
    }
}

fn greedy_with_prefix<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    for run in ["prefix", "prefix_projection"] {
        let model = model_of_run::<B>(family, run, &backend.device).model;
        let prompts = [fixtures.tokens("/greedy/prompt")];
        let expected = fixtures.tokens(&format!("/prefix_greedy/{run}"));
        for use_cache in [true, false] {
            let found = continuations(&model, &prompts, &options(expected.len(), use_cache));
            assert_eq!(found[0], expected, "{run}, cache: {use_cache}");
        }
    }
}

/// A prompt continues alike alone and beside others, also when those end earlier.
fn batches_of_different_lengths<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let prompt = fixtures.tokens("/greedy/prompt");
    let expected = fixtures.tokens("/greedy/tokens");
    let shorter = prompt[2..].to_vec();
    let alone = continuations(&model, std::slice::from_ref(&shorter), &options(8, true));
    let prompts = [shorter, prompt];
    let together = continuations(&model, &prompts, &options(8, true));
    assert_eq!(together, [alone[0].clone(), expected[..8].to_vec()]);

    let mut stopping = options(8, true);
    stopping.stop_ids = vec![expected[3]];
    let generation = generate(&model, &prompts, &stopping, &mut |_| {
        ControlFlow::Continue(())
    });
    let sequences = generation.unwrap().sequences;
    let until = expected
        .iter()
        .position(|&token| token == expected[3])
        .unwrap();
    assert_eq!(sequences[1].tokens, expected[..until]);
    assert_eq!(sequences[1].finish, Finish::Stop);
    let end = alone[0]
        .iter()
        .position(|&token| token == expected[3])
        .unwrap_or(8);
    assert_eq!(sequences[0].tokens, alone[0][..end]);
}

fn sampled_sequences<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let prompts = [fixtures.tokens("/greedy/prompt")];
    let mut options = options(6, true);
    options.num_sequences = 3;
    options.sampling = Some(Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    });
    let found = continuations(&model, &prompts, &options);
    assert_eq!(
        found,
        continuations(&model, &prompts, &options),
        "same seed"
    );
    assert!(
        found[0] != found[1] || found[1] != found[2],
        "sequences are all alike"
    );
    options.use_cache = false;
    assert_eq!(
        found,
        continuations(&model, &prompts, &options),
        "without cache"
    );
}

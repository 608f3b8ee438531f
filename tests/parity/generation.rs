//! Greedy continuations.

use std::ops::ControlFlow;

use glmtune::model::generation::{
    BatchEvent, Batching, Finish, GenerationOptions, Sampling, generate, generate_batches,
};
use glmtune::model::{CausalLm, Error, GlmBackend};

use crate::backends::{TestBackend, parity_tests};
#[cfg(feature = "flex")]
use crate::fixtures::ADAPTERS;
use crate::fixtures::{Fixtures, model_of_run};

parity_tests!(
    greedy,
    greedy_with_prefix,
    batches_of_different_lengths,
    later_prompts_of_batches,
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

/// Prompts of many lengths, each of which has what its positions depend on.
fn ragged(fixtures: &Fixtures) -> Vec<Vec<u32>> {
    let prompt = fixtures.tokens("/greedy/prompt");
    let ends = prompt.len() - 2;
    (0..9)
        .map(|index| {
            let (cut, more) = (index * 5 % (ends + 1), index * 2 % 5);
            let opening = prompt.iter().cycle().skip(index).take(more);
            // What ChatGLM-6B's positions depend on stands at the end; the others begin with it, and do without.
            let opening = opening.filter(|id| !prompt[ends..].contains(id));
            opening.chain(&prompt[cut..]).copied().collect()
        })
        .collect()
}

/// The tokens of a continuation, and why it ended.
type Ended = (Vec<u32>, Finish);

/// The tokens of every answer, prompt by prompt, and how many tokens were told of.
fn answers<B: GlmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    options: &GenerationOptions,
    batching: Batching,
) -> Vec<Option<Vec<Ended>>> {
    let mut found = vec![None; prompts.len()];
    let mut told = vec![0; prompts.len()];
    let done: Result<(), Error> =
        generate_batches(model, prompts, options, batching, &mut |event| {
            match event {
                BatchEvent::Token { prompt, .. } => told[prompt] += 1,
                BatchEvent::Answered(answer) => {
                    let sequences = answer.sequences.into_iter();
                    let sequences = sequences.map(|sequence| (sequence.tokens, sequence.finish));
                    let before = found[answer.prompt].replace(sequences.collect::<Vec<_>>());
                    assert!(before.is_none(), "answered twice");
                }
            }
            Ok(ControlFlow::Continue(()))
        });
    done.unwrap();
    for (answer, told) in found.iter().zip(told) {
        if let Some(sequences) = answer {
            let tokens = sequences.iter().map(|(tokens, _)| tokens.len());
            assert_eq!(tokens.sum::<usize>(), told);
        }
    }
    found
}

/// Token for token as each prompt alone, whatever ends when: base, LoRA and prefixes, greedy and drawn.
#[cfg(feature = "flex")]
#[test]
fn batches_answer_as_rows_alone() {
    let backend = crate::backends::flex("generation::batches_answer_as_rows_alone").unwrap();
    for family in crate::common::FAMILIES {
        let prompts = ragged(&Fixtures::of(family));
        for run in std::iter::once("base").chain(ADAPTERS) {
            let model = model_of_run(family, run, &backend.device).model;
            compare_batches::<burn_flex::Flex>(&model, &prompts, &format!("{family}, {run}"));
        }
    }
}

#[cfg(feature = "flex")]
fn compare_batches<B: GlmBackend>(model: &CausalLm<B>, prompts: &[Vec<u32>], what: &str) {
    let mut options = options(12, true);
    let of_size = |options: &GenerationOptions, batch_size| {
        let batching = Batching {
            batch_size,
            first: 0,
        };
        answers(model, prompts, options, batching)
    };
    // Some end early, at different times.
    let free = of_size(&options, 1);
    let tokens = |prompt: usize| &free[prompt].as_ref().unwrap()[0].0;
    options.stop_ids = vec![tokens(0)[3], tokens(4)[5], tokens(7)[1]];
    options.min_new_tokens = 2;
    options.max_length = Some(prompts[3].len() + 4);
    for drawn in [false, true] {
        if drawn {
            options.num_sequences = 2;
            options.sampling = Some(Sampling {
                temperature: 1.2,
                top_k: 0,
                top_p: 0.9,
            });
        }
        let expected = of_size(&options, 1);
        for batch_size in [2, 4, 9] {
            let found = of_size(&options, batch_size);
            assert_eq!(
                found, expected,
                "{what}, batches of {batch_size}, drawn: {drawn}"
            );
        }
    }
}

/// What is answered already is not told of again.
fn later_prompts_of_batches<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let fixtures = Fixtures::of(family);
    let prompts = ragged(&fixtures);
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let from = |first| {
        let batching = Batching {
            batch_size: 2,
            first,
        };
        answers(&model, &prompts, &options(5, true), batching)
    };
    let whole = from(0);
    for first in [1, 4, 9] {
        let found = from(first);
        assert!(found[..first].iter().all(Option::is_none));
        assert_eq!(found[first..], whole[first..]);
    }
}

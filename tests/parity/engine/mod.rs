//! Many requests at once, of the base and of adapters, against each alone.

mod crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use burn::tensor::DType;
use glmtune::model::engine::{
    Continuation, EngineHandle, EngineOptions, Event, Failure, Listener, Refusal, Request, Task,
    TokenScore, bytes_per_token, start,
};
use glmtune::model::generation::{Drawing, Finish, GenerationOptions, generate};
use glmtune::model::pretrained::Pretrained;
use glmtune::model::{CausalLm, FloatType, GlmBackend, Padding, TokenBatch};

use crate::backends::{TestBackend, parity_tests};
use crate::common::golden;
use crate::fixtures::{Fixtures, assert_close, model, model_of_run};

parity_tests!(
    scores_of_prompts,
    ends_are_scored,
    embeddings,
    places_and_turns
);

const PATIENCE: Duration = Duration::from_secs(120);

/// A listener that passes events on.
struct Ear {
    sender: Sender<Event>,
    is_gone: Arc<AtomicBool>,
}

impl Listener for Ear {
    fn tell(&mut self, event: Event) {
        let _ = self.sender.send(event);
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }
}

/// A request on its way.
struct Asked {
    events: Receiver<Event>,
    is_gone: Arc<AtomicBool>,
}

/// What came of a request.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    tokens: Vec<u32>,
    scores: Vec<TokenScore>,
    prompt_scores: Vec<Option<TokenScore>>,
    cached: usize,
    finish: Option<Finish>,
    embedding: Vec<f32>,
    failure: Option<Failure>,
    end: Option<(u32, TokenScore)>,
}

impl Asked {
    fn answer(&self) -> Answer {
        let mut answer = Answer::default();
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                Event::Started { cached } => answer.cached = cached,
                Event::PromptScores(scores) => answer.prompt_scores = scores,
                Event::Token { token, score } => {
                    answer.tokens.push(token);
                    answer.scores.extend(score);
                }
                Event::EndToken { token, score } => answer.end = Some((token, score)),
                Event::Ended(finish) => answer.finish = Some(finish),
                Event::Embedding(values) => answer.embedding = values,
                Event::Failed(failure) => answer.failure = Some(failure),
            }
            if answer.finish.is_some() || answer.failure.is_some() || !answer.embedding.is_empty() {
                return answer;
            }
        }
    }
}

fn ask(
    engine: &EngineHandle,
    adapter: Option<&str>,
    prompt: &[u32],
    task: Task,
) -> Result<Asked, Refusal> {
    let (sender, events) = channel();
    let is_gone = Arc::new(AtomicBool::new(false));
    engine.submit(Request {
        adapter: adapter.map(str::to_string),
        prompt: prompt.to_vec(),
        task,
        listener: Box::new(Ear {
            sender,
            is_gone: is_gone.clone(),
        }),
    })?;
    Ok(Asked { events, is_gone })
}

fn greedy(max_new_tokens: usize) -> Continuation {
    Continuation {
        max_new_tokens,
        min_new_tokens: 0,
        drawing: Drawing::default(),
        stop_ids: Vec::new(),
        scores: None,
        scores_prompt: false,
        constraint: None,
    }
}

fn copy(continuation: &Continuation) -> Continuation {
    Continuation {
        drawing: continuation.drawing.clone(),
        stop_ids: continuation.stop_ids.clone(),
        ..greedy(continuation.max_new_tokens)
    }
}

fn continued(continuation: Continuation) -> Task {
    Task::Continue(Box::new(continuation))
}

/// An engine for the model of a family, with room for so many tokens.
fn engine<B: GlmBackend>(
    backend: &TestBackend<B>,
    family: &str,
    capacity: u64,
    step_tokens: usize,
) -> EngineHandle {
    let Pretrained { model, config, .. } = model::<B>(&golden(family), &backend.device);
    let options = EngineOptions {
        kv_cache: capacity * bytes_per_token(&config, FloatType::F32),
        max_waiting: 1000,
        max_sequence: Some(64),
        step_tokens,
        ..EngineOptions::default()
    };
    start(model, config, options).unwrap()
}

/// What a model answers to a prompt alone.
fn alone<B: GlmBackend>(
    model: &CausalLm<B>,
    prompt: &[u32],
    continuation: &Continuation,
) -> (Vec<u32>, Finish) {
    let options = GenerationOptions {
        max_new_tokens: continuation.max_new_tokens,
        sampling: continuation.drawing.sampling.clone(),
        seed: continuation.drawing.seed,
        stop_ids: continuation.stop_ids.clone(),
        ..GenerationOptions::default()
    };
    let found = generate(model, &[prompt.to_vec()], &options, &mut |_| {
        std::ops::ControlFlow::Continue(())
    });
    let sequence = found.unwrap().sequences.remove(0);
    (sequence.tokens, sequence.finish)
}

/// Prompts of several lengths, some of which begin alike; what ChatGLM-6B's positions depend on ends each.
fn prompts(fixtures: &Fixtures) -> Vec<Vec<u32>> {
    let prompt = fixtures.tokens("/greedy/prompt");
    let end = prompt.len() - 2;
    let beginning = |count: usize| [&prompt[..count], &prompt[end..]].concat();
    let twice = [&prompt[..end], &prompt[..end], &prompt[end..]].concat();
    vec![
        prompt.clone(),
        beginning(end / 2),
        beginning(end - 1),
        twice,
        prompt[end / 3..].to_vec(),
    ]
}

/// Log probabilities of a row's tokens, by the model's plain pass.
fn log_probabilities<B: GlmBackend>(model: &CausalLm<B>, ids: &[u32]) -> Vec<f32> {
    let batch = TokenBatch::new(vec![ids.to_vec()], Padding::Right, 0);
    let logits = model.forward(&batch).unwrap().cast(DType::F32);
    let [_, _, vocabulary] = logits.dims();
    let logits: Vec<f32> = logits.into_data().into_vec().unwrap();
    let rows = logits.chunks(vocabulary).zip(&ids[1..]);
    rows.map(|(row, &next)| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        (f64::from(row[next as usize]) - sum.ln()) as f32
    })
    .collect()
}

/// In pieces of any size, beside others.
fn scores_of_prompts<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let prompts = prompts(&Fixtures::of(family));
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    for step_tokens in [4, 512] {
        let engine = engine(backend, family, 1024, step_tokens);
        let scored = |max_new_tokens| Continuation {
            scores: Some(3),
            scores_prompt: true,
            ..greedy(max_new_tokens)
        };
        let ask = |prompt: &[u32], count| ask(&engine, None, prompt, continued(scored(count)));
        let asked: Vec<Asked> = (0..prompts.len())
            .map(|index| ask(&prompts[index], index % 2).unwrap())
            .collect();
        for (index, asked) in asked.iter().enumerate() {
            let answer = asked.answer();
            assert_eq!(answer.cached, 0);
            assert_eq!(answer.finish, Some(Finish::Length));
            let ids = [prompts[index].clone(), answer.tokens.clone()].concat();
            assert_eq!(answer.tokens.len(), index % 2);
            assert!(answer.prompt_scores[0].is_none());
            let scores = answer
                .prompt_scores
                .into_iter()
                .flatten()
                .chain(answer.scores);
            let scores: Vec<TokenScore> = scores.collect();
            let found: Vec<f32> = scores.iter().map(|score| score.log_probability).collect();
            let expected = log_probabilities(&model, &ids);
            assert_close(
                "log probabilities",
                &found,
                &expected,
                backend.tolerance.logits,
            );
            for (score, next) in scores.iter().zip(&ids[1..]) {
                let likeliest = &score.likeliest;
                assert_eq!(likeliest.len(), 3);
                assert!(likeliest.is_sorted_by(|a, b| a.1 >= b.1));
                assert!(likeliest[0].1 >= score.log_probability);
                let own = likeliest.iter().find(|(token, _)| token == next);
                assert!(own.is_none_or(|own| own.1 == score.log_probability));
            }
        }
    }
}

/// The token that ends an answer is not a part of it, but has its score.
fn ends_are_scored<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let prompt = Fixtures::of(family).tokens("/greedy/prompt");
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let (free, _) = alone(&model, &prompt, &greedy(1));
    let engine = engine(backend, family, 256, 512);
    let ending = |scores| Continuation {
        stop_ids: vec![free[0]],
        scores,
        ..greedy(4)
    };
    let scored = ask(&engine, None, &prompt, continued(ending(Some(1)))).unwrap();
    let scored = scored.answer();
    assert_eq!(
        (scored.tokens.len(), scored.finish),
        (0, Some(Finish::Stop))
    );
    let (token, score) = scored.end.unwrap();
    assert_eq!(token, free[0]);
    assert_eq!(score.likeliest, [(token, score.log_probability)]);
    let silent = ask(&engine, None, &prompt, continued(ending(None))).unwrap();
    assert_eq!(silent.answer().end, None);
}

/// The mean of the hidden states after the final norm.
fn embeddings<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let prompts = prompts(&Fixtures::of(family));
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let engine = engine(backend, family, 1024, 5);
    let asked: Vec<Asked> = prompts
        .iter()
        .map(|prompt| ask(&engine, None, prompt, Task::Embed).unwrap())
        .collect();
    for (prompt, asked) in prompts.iter().zip(asked) {
        let batch = TokenBatch::new(vec![prompt.clone()], Padding::Right, 0);
        let last = model.hidden_states(&batch).unwrap().pop().unwrap();
        // ChatGLM-6B's last hidden states are normalized already.
        let last = match family {
            "chatglm" => last,
            _ => model.final_norm(last),
        };
        let mean: Vec<f32> = last.mean_dim(1).into_data().into_vec().unwrap();
        let found = asked.answer().embedding;
        assert_close("embedding", &found, &mean, backend.tolerance.logits);
    }
}

/// The next turn computes what is new; who goes away leaves the place; what cannot be done is refused.
fn places_and_turns<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let prompt = Fixtures::of(family).tokens("/greedy/prompt");
    let model = model_of_run::<B>(family, "base", &backend.device).model;
    let engine = engine(backend, family, 128, 512);
    let ask = |prompt: &[u32], count| ask(&engine, None, prompt, continued(greedy(count)));
    let first = ask(&prompt, 6).unwrap().answer();
    assert_eq!(first.cached, 0);
    let turn = [prompt.clone(), first.tokens.clone(), vec![7, 8]].concat();
    let second = ask(&turn, 4).unwrap().answer();
    // The last token that was drawn was never computed.
    assert_eq!(second.cached, prompt.len() + 5);
    assert_eq!(second.tokens, alone(&model, &turn, &greedy(4)).0);

    // Three sequences of 40 tokens fit; the fourth waits until one goes away.
    let long: Vec<Asked> = (0..4)
        .map(|_| ask(&prompt, 40 - prompt.len()).unwrap())
        .collect();
    long[0].is_gone.store(true, Ordering::SeqCst);
    for asked in &long[1..] {
        assert_eq!(asked.answer().tokens.len(), 40 - prompt.len());
    }
    let refused = ask(&prompt, 64).err();
    let tokens = prompt.len() + 64;
    assert_eq!(refused, Some(Refusal::TooLong { tokens, limit: 64 }));
    assert!(matches!(ask(&[], 1), Err(Refusal::Request(_))));
    assert!(matches!(ask(&[u32::MAX], 1), Err(Refusal::Request(_))));
    assert!(engine.load("x", golden(family).join("missing")).is_err());
    assert!(!engine.unload("x").unwrap());
    let deadline = std::time::Instant::now() + PATIENCE;
    while engine.status().running > 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(engine.status().used, 0);
}

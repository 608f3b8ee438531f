//! A crowd of requests; not on the CUDA device in software, which would take minutes for it.

use glmtune::model::GlmBackend;
use glmtune::model::engine::Refusal;
use glmtune::model::generation::Sampling;

use super::{alone, ask, continued, copy, engine, greedy, prompts};
use crate::backends::{TestBackend, parity_tests};
use crate::common::fixtures::prefix_directory;
use crate::common::golden;
use crate::fixtures::{ADAPTERS, Fixtures, model_of_run};

parity_tests!(@backend flex "flex" a_crowd_of_adapters);
parity_tests!(@backend wgpu "wgpu" a_crowd_of_adapters);

/// Base, LoRA and prefixes in the same steps, drawn and greedy, in small pieces and with little room: each request
/// gets the answer that it gets alone.
fn a_crowd_of_adapters<B: GlmBackend>(backend: &TestBackend<B>, family: &str) {
    let dir = golden(family);
    let prompts = prompts(&Fixtures::of(family));
    let mut expected = Vec::new();
    let mut requests = Vec::new();
    for run in std::iter::once("base").chain(ADAPTERS) {
        let model = model_of_run::<B>(family, run, &backend.device).model;
        for (index, prompt) in prompts.iter().enumerate() {
            let mut continuation = greedy(3 + 2 * index);
            if index % 2 == 1 {
                continuation.drawing.sampling = Some(Sampling {
                    temperature: 1.1,
                    top_k: 0,
                    top_p: 0.9,
                });
                continuation.drawing.seed = index as u64;
            }
            if index == 4 {
                let (free, _) = alone(&model, prompt, &continuation);
                continuation.stop_ids = vec![free[5]];
            }
            expected.push(alone(&model, prompt, &continuation));
            let adapter = (run != "base").then_some(run);
            requests.push((adapter, prompt.clone(), continuation));
        }
    }
    for (capacity, step_tokens) in [(4096, 512), (256, 5)] {
        let engine = engine(backend, family, capacity, step_tokens);
        for run in ADAPTERS {
            let prefix = run
                .starts_with("prefix")
                .then(|| prefix_directory(&dir, run));
            let path = prefix
                .as_ref()
                .map_or(dir.join(run), |it| it.path().to_path_buf());
            engine.load(run, path).unwrap();
        }
        assert_eq!(engine.adapters(), ADAPTERS);
        // A second round finds what the first has left, in another order.
        for round in 0..2 {
            let order = (0..requests.len()).map(|index| (index * 7 + round * 3) % requests.len());
            let asked = order.map(|index| {
                let (adapter, prompt, continuation) = &requests[index];
                let task = continued(copy(continuation));
                (index, ask(&engine, *adapter, prompt, task).unwrap())
            });
            for (index, asked) in asked.collect::<Vec<_>>() {
                let answer = asked.answer();
                let found = (answer.tokens, answer.finish.unwrap());
                let what = &requests[index].0;
                assert_eq!(found, expected[index], "{what:?}, {index}, room {capacity}");
            }
        }
        let status = engine.status();
        // What ChatGLM-6B can share is whole prompts, which little room does not keep.
        let must_share = capacity > 256 || family != "chatglm";
        assert!(status.cached_tokens > 0 || !must_share, "{status:?}");
        engine.stop();
        engine.join();
        let refused = ask(&engine, None, &prompts[0], continued(greedy(1)));
        assert_eq!(refused.err(), Some(Refusal::Stopping));
    }
}

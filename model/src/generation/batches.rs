//! Many prompts, answered in batches of like length.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::decode::{Event, Finish, Prompt, Sequence, check_prompts, decode};
use super::options::GenerationOptions;
use crate::causal_lm::CausalLm;
use crate::error::{Error, Result};
use crate::layers::GlmBackend;

/// Batches within which prompts are sorted by length. More of them pad less, and answers come later in the
/// order of their prompts.
const WINDOW: usize = 8;

/// Which prompts are answered, and how many of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Most prompts of a batch.
    pub batch_size: usize,
    /// Prompts before this one have their answers already. A batch that has some of them is computed as it was
    /// before, so that the others get the same numbers to the bit.
    pub first: usize,
}

/// The continuations of a prompt, as many as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Index of the prompt.
    pub prompt: usize,
    /// The continuations.
    pub sequences: Vec<Sequence>,
}

/// What happens while prompts are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEvent {
    /// A continuation has a token more.
    Token {
        /// Index of its prompt.
        prompt: usize,
        /// The token.
        token: u32,
    },
    /// A prompt has its answer. Answers come as they are ready, in no order.
    Answered(Answer),
}

/// The prompts of each batch, by their lengths: prompts that are near each other and of like length. The batches
/// with the first prompts come first.
pub fn batches(lengths: &[usize], batch_size: usize) -> Vec<Vec<usize>> {
    let batch_size = batch_size.max(1);
    let window = batch_size.saturating_mul(WINDOW);
    let prompts: Vec<usize> = (0..lengths.len()).collect();
    prompts
        .chunks(window)
        .flat_map(|window| {
            let mut sorted = window.to_vec();
            sorted.sort_by_key(|&prompt| lengths[prompt]);
            let mut batches: Vec<Vec<usize>> =
                sorted.chunks(batch_size).map(<[usize]>::to_vec).collect();
            batches.sort_by_key(|batch| batch.iter().min().copied());
            batches
        })
        .collect()
}

/// Continues many prompts: one pass over the prompts of a batch, then one token of each at a time.
///
/// Draws depend on the seed, the index of the prompt and the number of the continuation, and so on nothing that
/// the batch has beside. `on_event` is told of tokens and answers; `Break` ends the work, and prompts
/// whose answers are not whole have none.
///
/// # Errors
/// As [`generate`](super::generate), and what `on_event` fails with.
pub fn generate_batches<B: GlmBackend, E: From<Error>>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    options: &GenerationOptions,
    batching: Batching,
    on_event: &mut dyn FnMut(BatchEvent) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    options.validate()?;
    if batching.batch_size == 0 {
        return Err(Error::Request("batch_size must be at least 1".to_string()).into());
    }
    check_prompts(prompts)?;
    let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    let wanted = |batch: &Vec<usize>| batch.iter().any(|&prompt| prompt >= batching.first);
    let batches = batches(&lengths, batching.batch_size);
    for batch in batches.into_iter().filter(wanted) {
        let numbered = batch.iter().map(|&number| Prompt {
            number,
            ids: &prompts[number],
        });
        let mut listener = Listener {
            first: batching.first,
            num_sequences: options.num_sequences,
            batch: &batch,
            open: HashMap::new(),
            result: Ok(ControlFlow::Continue(())),
            on_event: &mut *on_event,
        };
        let numbered: Vec<_> = numbered.collect();
        decode(model, &numbered, options, &mut |event| listener.hear(event))?;
        if listener.result?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Puts the answers of a batch together.
struct Listener<'a, E> {
    first: usize,
    num_sequences: usize,
    batch: &'a [usize],
    /// Continuations of prompts of which others have not ended.
    open: HashMap<usize, Vec<(usize, Sequence)>>,
    /// What the caller said last.
    result: Result<ControlFlow<()>, E>,
    on_event: &'a mut dyn FnMut(BatchEvent) -> Result<ControlFlow<()>, E>,
}

impl<E> Listener<'_, E> {
    fn hear(&mut self, event: Event) -> ControlFlow<()> {
        let event = match event {
            Event::Token(event) => Some(BatchEvent::Token {
                prompt: self.batch[event.sequence / self.num_sequences],
                token: event.token,
            }),
            Event::Ended(index, sequence) => self.ended(index, sequence),
        };
        if let (Some(event), Ok(ControlFlow::Continue(()))) = (event, &self.result) {
            self.result = (self.on_event)(event);
        }
        match self.result {
            Ok(flow) => flow,
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// The answer of a prompt whose last continuation has ended.
    fn ended(&mut self, index: usize, sequence: Sequence) -> Option<BatchEvent> {
        let prompt = sequence.prompt;
        if sequence.finish == Finish::Interrupted || prompt < self.first {
            return None;
        }
        let sequences = self.open.entry(prompt).or_default();
        sequences.push((index, sequence));
        if sequences.len() < self.num_sequences {
            return None;
        }
        let mut sequences = self.open.remove(&prompt)?;
        sequences.sort_by_key(|(index, _)| *index);
        Some(BatchEvent::Answered(Answer {
            prompt,
            sequences: sequences
                .into_iter()
                .map(|(_, sequence)| sequence)
                .collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prompts_of_like_length_go_together() {
        assert_eq!(
            batches(&[9, 1, 8, 2, 7], 2),
            [vec![0], vec![1, 3], vec![4, 2]]
        );
        assert!(batches(&[], 4).is_empty());
    }

    proptest! {
        #[test]
        fn every_prompt_is_in_one_batch(
            lengths in prop::collection::vec(1usize..50, 0..100),
            batch_size in 0usize..20,
        ) {
            let batches = batches(&lengths, batch_size);
            prop_assert!(batches.iter().all(|batch| batch.len() <= batch_size.max(1)));
            let mut found = batches.concat();
            // None is further from its place than a window.
            let window = batch_size.max(1) * WINDOW;
            prop_assert!(found.iter().enumerate().all(|(at, &prompt)| at / window == prompt / window));
            found.sort_unstable();
            prop_assert!(found.into_iter().eq(0..lengths.len()));
        }
    }
}

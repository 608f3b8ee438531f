//! The loop: one pass over the prompts, then one token at a time.

use std::ops::{ControlFlow, Range};

use burn::tensor::{DType, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::drawing::Drawing;
use super::options::GenerationOptions;
use super::sampler::Sampler;
use crate::batch::{BatchPositions, Padding, TokenBatch};
use crate::causal_lm::CausalLm;
use crate::device_health::settle;
use crate::error::{Error, Result};
use crate::layers::{GlmBackend, KvCache};

/// A token as it comes, for streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEvent {
    /// Which continuation it belongs to: `prompt · num_sequences + n`.
    pub sequence: usize,
    /// The token.
    pub token: u32,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// At a stop token.
    Stop,
    /// At a limit of length.
    Length,
    /// Because the caller asked for it.
    Interrupted,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Index of its prompt.
    pub prompt: usize,
    /// The tokens added, without the stop token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// All continuations of a call, `num_sequences` per prompt, in the order of the prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The continuations.
    pub sequences: Vec<Sequence>,
}

/// Continues prompts, all of them together; [`generate_batches`](super::generate_batches) is for more of them
/// than that.
///
/// `on_token` is called for every token of every continuation; `Break` ends the generation, and what
/// there is so far is returned.
///
/// # Errors
/// If an option is out of range, a prompt is empty or lacks what its positions depend on, the model gives
/// logits that are not numbers, or the device fails.
pub fn generate<B: GlmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    options: &GenerationOptions,
    on_token: &mut dyn FnMut(TokenEvent) -> ControlFlow<()>,
) -> Result<Generation> {
    options.validate()?;
    check_prompts(prompts)?;
    let numbered = prompts.iter().enumerate();
    let numbered: Vec<Prompt<'_>> = numbered
        .map(|(number, ids)| Prompt { number, ids })
        .collect();
    let mut ended = Vec::with_capacity(prompts.len() * options.num_sequences);
    decode(model, &numbered, options, &mut |event| match event {
        Event::Token(event) => on_token(event),
        Event::Ended(index, sequence) => {
            ended.push((index, sequence));
            ControlFlow::Continue(())
        }
    })?;
    ended.sort_by_key(|(index, _)| *index);
    Ok(Generation {
        sequences: ended.into_iter().map(|(_, sequence)| sequence).collect(),
    })
}

/// A continuation starts from something.
///
/// # Errors
/// [`Error::Request`] if a prompt has no tokens.
pub(super) fn check_prompts(prompts: &[Vec<u32>]) -> Result<()> {
    match prompts.iter().position(Vec::is_empty) {
        Some(index) => Err(Error::Request(format!("prompt {index} has no tokens"))),
        None => Ok(()),
    }
}

/// A prompt of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt<'a> {
    /// Its number among all prompts, on which its draws depend: in whichever batch it is, they are the same.
    pub number: usize,
    /// Its tokens.
    pub ids: &'a [u32],
}

/// What happens to the continuations of a batch; the first is number 0.
#[derive(Debug)]
pub(super) enum Event {
    /// One has a token more.
    Token(TokenEvent),
    /// One has ended.
    Ended(usize, Sequence),
}

/// Continues the prompts of a batch. After a `Break`, those that had not ended end as they are.
pub(super) fn decode<B: GlmBackend>(
    model: &CausalLm<B>,
    prompts: &[Prompt<'_>],
    options: &GenerationOptions,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<()> {
    // A prompt at the limit has no continuation; the rest of its batch goes on without it.
    let (open, full): (Vec<_>, Vec<_>) = prompts
        .iter()
        .enumerate()
        .partition(|(_, prompt)| options.max_length.is_none_or(|max| prompt.ids.len() < max));
    let mut flow = ControlFlow::Continue(());
    for mut row in rows(&full, options) {
        flow = combine(flow, row.end(Finish::Length, on_event));
    }
    if flow.is_break() || open.is_empty() {
        return Ok(());
    }
    let mut run = Run {
        options,
        batch: rows(&open, options),
    };
    let mut steps: Box<dyn Steps<B>> = match options.use_cache {
        true => {
            let ids = open.iter().map(|(_, prompt)| prompt.ids.to_vec());
            let cached = Cached::new(model, ids.collect(), options.num_sequences)?;
            Box::new(cached)
        }
        false => Box::new(Uncached { model }),
    };
    loop {
        let logits = steps.logits(&run.batch)?;
        settle::<B>(&[model.device()])?;
        if run.advance(logits, on_event)?.is_break() {
            run.interrupt(on_event);
            return Ok(());
        }
        let Some(kept) = run.compact() else {
            continue;
        };
        if run.batch.is_empty() {
            return Ok(());
        }
        steps.keep(&kept);
    }
}

/// The continuations of some prompts, each with its place in the batch.
fn rows(prompts: &[(usize, &Prompt<'_>)], options: &GenerationOptions) -> Vec<Row> {
    let each = prompts
        .iter()
        .flat_map(|&(place, prompt)| (0..options.num_sequences).map(move |n| (place, *prompt, n)));
    each.map(|(place, prompt, n)| Row {
        index: place * options.num_sequences + n,
        prompt: prompt.number,
        tokens: prompt.ids.to_vec(),
        prompt_len: prompt.ids.len(),
        sampler: Sampler::new(Drawing::of(options, (prompt.number, n)), prompt.ids),
        has_ended: false,
    })
    .collect()
}

/// One continuation on its way.
struct Row {
    /// Its number in the batch.
    index: usize,
    /// Number of its prompt among all.
    prompt: usize,
    /// Prompt and continuation.
    tokens: Vec<u32>,
    prompt_len: usize,
    sampler: Sampler,
    /// It stands in the batch until the batch is made smaller.
    has_ended: bool,
}

impl Row {
    /// Draws the next token, or nothing if the logits are not numbers.
    fn draw(&mut self, logits: &mut [f32], options: &GenerationOptions) -> Option<u32> {
        let can_stop = self.new_tokens() >= options.min_new_tokens;
        self.sampler
            .next(logits, if can_stop { &[] } else { &options.stop_ids })
    }

    fn new_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    fn is_full(&self, options: &GenerationOptions) -> bool {
        self.new_tokens() >= options.max_new_tokens
            || options
                .max_length
                .is_some_and(|max| self.tokens.len() >= max)
    }

    fn end(
        &mut self,
        finish: Finish,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.has_ended = true;
        let sequence = Sequence {
            prompt: self.prompt,
            tokens: self.tokens[self.prompt_len..].to_vec(),
            finish,
        };
        on_event(Event::Ended(self.index, sequence))
    }
}

/// The continuations of a batch.
struct Run<'a> {
    options: &'a GenerationOptions,
    batch: Vec<Row>,
}

impl Run<'_> {
    /// Draws the next token of every row that goes on.
    fn advance(
        &mut self,
        mut logits: Logits,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let options = self.options;
        let drawn: Vec<Option<u32>> = self
            .batch
            .par_iter_mut()
            .zip(logits.values.par_chunks_mut(logits.vocabulary))
            .map(|(row, logits)| match row.has_ended {
                true => Some(0),
                false => row.draw(logits, options),
            })
            .collect();
        let mut flow = ControlFlow::Continue(());
        for (row, token) in self.batch.iter_mut().zip(drawn) {
            let token = token.ok_or_else(not_finite)?;
            if row.has_ended {
                continue;
            }
            if options.stop_ids.contains(&token) {
                flow = combine(flow, row.end(Finish::Stop, on_event));
                continue;
            }
            row.tokens.push(token);
            let event = TokenEvent {
                sequence: row.index,
                token,
            };
            if flow.is_continue() {
                flow = on_event(Event::Token(event));
            }
            // What was interrupted at its last token has not been told whole.
            if flow.is_continue() && row.is_full(options) {
                flow = row.end(Finish::Length, on_event);
            }
        }
        Ok(flow)
    }

    /// Ends what has not ended.
    fn interrupt(&mut self, on_event: &mut dyn FnMut(Event) -> ControlFlow<()>) {
        for row in self.batch.iter_mut().filter(|row| !row.has_ended) {
            let _ = row.end(Finish::Interrupted, on_event);
        }
    }

    /// Takes out the rows that have ended once they are a quarter of the batch, and gives the places of the others
    /// in it: their keys and values are then copied, which at every end would cost more than it saves.
    fn compact(&mut self) -> Option<Vec<usize>> {
        let rows = self.batch.iter().enumerate();
        let going_on = rows.filter(|(_, row)| !row.has_ended);
        let kept: Vec<usize> = going_on.map(|(place, _)| place).collect();
        let is_worth_it = kept.len() < self.batch.len() && kept.len() * 4 <= self.batch.len() * 3;
        is_worth_it.then(|| {
            self.batch.retain(|row| !row.has_ended);
            kept
        })
    }
}

/// A break stays a break.
fn combine(flow: ControlFlow<()>, next: ControlFlow<()>) -> ControlFlow<()> {
    match flow {
        ControlFlow::Break(()) => flow,
        ControlFlow::Continue(()) => next,
    }
}

fn not_finite() -> Error {
    Error::Compute(
        "the model's logits are not finite: the compute type overflowed or the weights are damaged \
         (half precision: try --dtype bf16 or f32)"
            .to_string(),
    )
}

/// Logits of the next token of each row, one after the other.
struct Logits {
    values: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    /// Each row several times.
    fn repeated(self, times: usize) -> Self {
        let rows = self.values.chunks(self.vocabulary);
        let rows = rows.flat_map(|row| std::iter::repeat_n(row, times));
        Self {
            values: rows.flatten().copied().collect(),
            vocabulary: self.vocabulary,
        }
    }
}

/// A way to come from rows to the logits of their next tokens.
trait Steps<B: GlmBackend> {
    /// Logits for the next token of each row of the batch.
    fn logits(&mut self, batch: &[Row]) -> Result<Logits>;

    /// Tells which rows of the last batch go on.
    fn keep(&mut self, rows: &[usize]);
}

/// Everything anew at each step.
struct Uncached<'a, B: GlmBackend> {
    model: &'a CausalLm<B>,
}

impl<B: GlmBackend> Steps<B> for Uncached<'_, B> {
    fn logits(&mut self, batch: &[Row]) -> Result<Logits> {
        let rows = batch.iter().map(|row| row.tokens.clone()).collect();
        let batch = TokenBatch::new(rows, Padding::Left, 0);
        let positions = self.model.positions(&batch)?;
        let shared = self.model.shared_inputs(&positions, 0..batch.width(), None);
        let hidden = self.model.embed(batch.ids(&self.model.device()));
        last_logits(self.model, self.model.blocks(hidden, &shared, None))
    }

    fn keep(&mut self, _rows: &[usize]) {}
}

/// One pass over the prompts, then one token per step.
struct Cached<'a, B: GlmBackend> {
    model: &'a CausalLm<B>,
    cache: KvCache<B>,
    positions: BatchPositions,
    prompts: TokenBatch,
    num_sequences: usize,
    /// Tokens in the cache, prefix not counted.
    len: usize,
}

impl<'a, B: GlmBackend> Cached<'a, B> {
    fn new(model: &'a CausalLm<B>, prompts: Vec<Vec<u32>>, num_sequences: usize) -> Result<Self> {
        let prompts = TokenBatch::new(prompts, Padding::Left, 0);
        Ok(Self {
            positions: model.positions(&prompts)?,
            model,
            cache: KvCache::new(model.num_blocks()),
            prompts,
            num_sequences,
            len: 0,
        })
    }

    /// Walks the chain for the tokens at a range of indexes.
    fn forward(&mut self, ids: Tensor<B, 2, Int>, range: Range<usize>) -> Result<Logits> {
        self.len = range.end;
        let shared = match range.start {
            0 => self.model.shared_inputs(&self.positions, range, None),
            _ => self.model.inputs_after_cache(&self.positions, range),
        };
        let (model, cache) = (self.model, &mut self.cache);
        B::on_own_threads(|| {
            let hidden = model.embed(ids);
            last_logits(model, model.blocks(hidden, &shared, Some(cache)))
        })
    }

    /// Each prompt is computed once; its keys and values are then shared by its continuations.
    fn prefill(&mut self) -> Result<Logits> {
        let (count, width) = (self.prompts.sequences().len(), self.prompts.width());
        let logits = self.forward(self.prompts.ids(&self.model.device()), 0..width)?;
        if self.num_sequences == 1 {
            return Ok(logits);
        }
        let order = (0..count).flat_map(|prompt| std::iter::repeat_n(prompt, self.num_sequences));
        self.keep(&order.collect::<Vec<_>>());
        Ok(logits.repeated(self.num_sequences))
    }
}

impl<B: GlmBackend> Steps<B> for Cached<'_, B> {
    fn logits(&mut self, batch: &[Row]) -> Result<Logits> {
        if self.len == 0 {
            return self.prefill();
        }
        let last = batch.iter().filter_map(|row| row.tokens.last());
        let ids: Vec<i32> = last.map(|&token| token as i32).collect();
        let ids = TensorData::new(ids, [batch.len(), 1]);
        let ids = Tensor::from_data(ids, &self.model.device());
        self.forward(ids, self.len..self.len + 1)
    }

    fn keep(&mut self, rows: &[usize]) {
        self.cache.select(rows, &self.model.device());
        self.positions.select(rows);
    }
}

/// Logits at the last token of each row.
fn last_logits<B: GlmBackend>(model: &CausalLm<B>, hidden: Tensor<B, 3>) -> Result<Logits> {
    let [_, tokens, _] = hidden.dims();
    let logits = model.head(hidden.narrow(1, tokens - 1, 1));
    let [_, _, vocabulary] = logits.dims();
    let data = logits.cast(DType::F32).into_data();
    let values = data
        .into_vec()
        .map_err(|error| Error::Compute(format!("logits could not be read: {error:?}")))?;
    Ok(Logits { values, vocabulary })
}

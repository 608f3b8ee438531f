//! The loop: one pass over the prompts, then one token at a time.

use std::ops::{ControlFlow, Range};

use burn::tensor::{DType, Int, Tensor, TensorData};

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

/// Continues prompts.
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
    if let Some(index) = prompts.iter().position(Vec::is_empty) {
        return Err(Error::Request(format!("prompt {index} has no tokens")));
    }
    let mut run = Run::new(prompts, options);
    if run.active.is_empty() {
        return Ok(run.finish());
    }
    let mut steps: Box<dyn Steps<B>> = match options.use_cache {
        true => Box::new(Cached::new(model, prompts, options.num_sequences)?),
        false => Box::new(Uncached { model }),
    };
    loop {
        let rows: Vec<&Row> = run.active.iter().map(|&index| &run.rows[index]).collect();
        let logits = steps.logits(&rows)?;
        settle::<B>(&[model.device()])?;
        let flow = run.advance(logits, on_token)?;
        if flow.is_break() || run.active.is_empty() {
            return Ok(run.finish());
        }
        steps.keep(&run.kept);
    }
}

/// One continuation on its way.
struct Row {
    prompt: usize,
    /// Prompt and continuation.
    tokens: Vec<u32>,
    prompt_len: usize,
    sampler: Sampler,
    finish: Finish,
}

/// All continuations of a call.
struct Run<'a> {
    options: &'a GenerationOptions,
    rows: Vec<Row>,
    /// Rows that go on, in the order of the batch.
    active: Vec<usize>,
    /// Places in the last batch of the rows that go on.
    kept: Vec<usize>,
}

impl<'a> Run<'a> {
    fn new(prompts: &[Vec<u32>], options: &'a GenerationOptions) -> Self {
        let count = prompts.len() * options.num_sequences;
        let rows: Vec<Row> = (0..count)
            .map(|index| {
                let prompt = index / options.num_sequences;
                Row {
                    prompt,
                    tokens: prompts[prompt].clone(),
                    prompt_len: prompts[prompt].len(),
                    sampler: Sampler::new(options, index, &prompts[prompt]),
                    finish: Finish::Length,
                }
            })
            .collect();
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let room = options.max_length.is_none_or(|max| longest < max);
        Self {
            options,
            // A prompt at the limit has no continuation; the rest of its batch goes on without it.
            active: (0..count)
                .filter(|&index| room || !rows[index].is_full(options))
                .collect(),
            rows,
            kept: Vec::new(),
        }
    }

    /// Draws the next token of every active row.
    fn advance(
        &mut self,
        logits: Vec<Vec<f32>>,
        on_token: &mut dyn FnMut(TokenEvent) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        self.kept.clear();
        let mut still_active = Vec::new();
        let mut flow = ControlFlow::Continue(());
        let active = std::mem::take(&mut self.active);
        for (place, (index, mut logits)) in active.into_iter().zip(logits).enumerate() {
            let row = &mut self.rows[index];
            let token = row.sampler.next(&mut logits).ok_or_else(not_finite)?;
            if self.options.stop_ids.contains(&token) {
                row.finish = Finish::Stop;
                continue;
            }
            row.tokens.push(token);
            let event = TokenEvent {
                sequence: index,
                token,
            };
            if flow.is_continue() {
                flow = on_token(event);
            }
            if flow.is_break() {
                row.finish = Finish::Interrupted;
            } else if !row.is_full(self.options) {
                still_active.push(index);
                self.kept.push(place);
            }
        }
        if flow.is_break() {
            for &index in &still_active {
                self.rows[index].finish = Finish::Interrupted;
            }
        }
        self.active = still_active;
        Ok(flow)
    }

    fn finish(self) -> Generation {
        let sequences = self.rows.into_iter().map(|mut row| Sequence {
            prompt: row.prompt,
            tokens: row.tokens.split_off(row.prompt_len),
            finish: row.finish,
        });
        Generation {
            sequences: sequences.collect(),
        }
    }
}

impl Row {
    fn is_full(&self, options: &GenerationOptions) -> bool {
        self.tokens.len() - self.prompt_len >= options.max_new_tokens
            || options
                .max_length
                .is_some_and(|max| self.tokens.len() >= max)
    }
}

fn not_finite() -> Error {
    Error::Compute(
        "the model's logits are not finite: the compute type overflowed or the weights are damaged \
         (half precision: try --dtype bf16 or f32)"
            .to_string(),
    )
}

/// A way to come from rows to the logits of their next tokens.
trait Steps<B: GlmBackend> {
    /// Logits for the next token of each row, `[rows][vocabulary]`.
    fn logits(&mut self, rows: &[&Row]) -> Result<Vec<Vec<f32>>>;

    /// Tells which rows of the last batch go on.
    fn keep(&mut self, rows: &[usize]);
}

/// Everything anew at each step.
struct Uncached<'a, B: GlmBackend> {
    model: &'a CausalLm<B>,
}

impl<B: GlmBackend> Steps<B> for Uncached<'_, B> {
    fn logits(&mut self, rows: &[&Row]) -> Result<Vec<Vec<f32>>> {
        let rows = rows.iter().map(|row| row.tokens.clone()).collect();
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
    fn new(model: &'a CausalLm<B>, prompts: &[Vec<u32>], num_sequences: usize) -> Result<Self> {
        let prompts = TokenBatch::new(prompts.to_vec(), Padding::Left, 0);
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
    fn forward(&mut self, ids: Tensor<B, 2, Int>, range: Range<usize>) -> Result<Vec<Vec<f32>>> {
        self.len = range.end;
        let shared = self.model.shared_inputs(&self.positions, range, None);
        let hidden = self.model.embed(ids);
        let hidden = self.model.blocks(hidden, &shared, Some(&mut self.cache));
        last_logits(self.model, hidden)
    }

    /// Each prompt is computed once; its keys and values are then shared by its continuations.
    fn prefill(&mut self, rows: &[&Row]) -> Result<Vec<Vec<f32>>> {
        let width = self.prompts.width();
        let logits = self.forward(self.prompts.ids(&self.model.device()), 0..width)?;
        let order: Vec<usize> = rows.iter().map(|row| row.prompt).collect();
        if self.num_sequences > 1 || order.len() != logits.len() {
            self.keep(&order);
        }
        Ok(order
            .into_iter()
            .map(|prompt| logits[prompt].clone())
            .collect())
    }
}

impl<B: GlmBackend> Steps<B> for Cached<'_, B> {
    fn logits(&mut self, rows: &[&Row]) -> Result<Vec<Vec<f32>>> {
        if self.len == 0 {
            return self.prefill(rows);
        }
        let last = rows.iter().filter_map(|row| row.tokens.last());
        let ids: Vec<i32> = last.map(|&token| token as i32).collect();
        let ids = TensorData::new(ids, [rows.len(), 1]);
        let ids = Tensor::from_data(ids, &self.model.device());
        self.forward(ids, self.len..self.len + 1)
    }

    fn keep(&mut self, rows: &[usize]) {
        let batch = self.cache.batch();
        if batch.is_some_and(|batch| rows.iter().copied().eq(0..batch)) {
            return;
        }
        self.cache.select(rows, &self.model.device());
        self.positions.select(rows);
    }
}

/// Logits at the last token of each row.
fn last_logits<B: GlmBackend>(model: &CausalLm<B>, hidden: Tensor<B, 3>) -> Result<Vec<Vec<f32>>> {
    let [_, tokens, _] = hidden.dims();
    let logits = model.head(hidden.narrow(1, tokens - 1, 1));
    let [_, _, vocabulary] = logits.dims();
    let data = logits.cast(DType::F32).into_data();
    let values: Vec<f32> = data
        .to_vec()
        .map_err(|error| Error::Compute(format!("logits could not be read: {error:?}")))?;
    Ok(values.chunks(vocabulary).map(<[f32]>::to_vec).collect())
}

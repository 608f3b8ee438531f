//! The thread of an engine: takes requests, gives them places, and works in steps.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Instant;

use rayon::prelude::*;

use super::handle::{Command, EngineHandle, EngineStatus, Shared, lock};
use super::kept::{Computed, shared_tokens};
use super::options::EngineOptions;
use super::pace::{Pace, shares};
use super::pass::{Output, Piece, compute};
use super::request::{Event, Failure, Request, Task};
use super::room::{Room, Wanted};
use super::sequence::Sequence;
use super::served::Adapters;
use crate::batch::RowPositions;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::device_health::{self, settle};
use crate::error::{Error, Result};
use crate::float_type::FloatType;
use crate::layers::GlmBackend;

/// Tokens of a prompt that are worth waiting for: those that another sequence is just computing.
const WORTH_WAITING: usize = 16;

/// Starts an engine for a model, which it owns from then on.
///
/// # Errors
/// If an option is out of range, the thread cannot be started, or there is no room for the cache.
pub fn start<B: GlmBackend>(
    model: CausalLm<B>,
    config: ModelConfig,
    options: EngineOptions,
) -> Result<EngineHandle> {
    let limits = options.limits(&config, FloatType::try_from(model.dtype())?)?;
    let shared = Arc::new(Shared::new(limits));
    let (handle, receiver) = EngineHandle::new(shared.clone());
    let thread = std::thread::Builder::new().name("engine".to_string());
    let (is_ready, ready) = sync_channel(1);
    let started = thread.spawn(move || {
        let _end = End(shared.clone());
        let status = lock(&shared.status).clone();
        let mut worker = Worker {
            room: Room::new(&model, &config, limits.capacity),
            adapters: Adapters::new(&model),
            running: Vec::new(),
            waiting: VecDeque::new(),
            pace: Pace::new(options.step_tokens),
            status,
            model,
            config,
            options,
            shared,
        };
        // Who started it waits for this, or for its end.
        let _ = is_ready.send(settle::<B>(&[worker.model.device()]));
        worker.run(&receiver);
    });
    let thread = started.map_err(|error| Error::Compute(format!("no thread: {error}")))?;
    handle.own(thread);
    let ended = || Error::Compute("no room for the cache of keys and values".to_string());
    ready.recv().map_err(|_| ended())??;
    Ok(handle)
}

/// However the thread ends, nothing is taken after it.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }
}

/// A request that waits for a place.
struct Waiting {
    request: Request,
    adapter: Option<usize>,
    positions: RowPositions,
    since: Instant,
}

impl Waiting {
    /// Whether it needs the logits or hidden states of all tokens of its prompt.
    fn needs_all(&self) -> bool {
        match &self.request.task {
            Task::Continue(continuation) => continuation.scores_prompt,
            Task::Embed => true,
        }
    }
}

struct Worker<B: GlmBackend> {
    model: CausalLm<B>,
    config: ModelConfig,
    options: EngineOptions,
    shared: Arc<Shared>,
    room: Room<B>,
    adapters: Adapters<B>,
    running: Vec<Sequence>,
    waiting: VecDeque<Waiting>,
    pace: Pace,
    status: EngineStatus,
}

impl<B: GlmBackend> Worker<B> {
    fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            if self.obey_all(commands).is_err() {
                self.fail_all(&Failure::Stopping);
                return;
            }
            self.drop_gone();
            self.admit();
            if !self.running.is_empty() {
                self.step();
            }
            self.publish();
            if device_health::check().is_err() {
                // A device that has failed is not trusted again.
                return self.fail_all(&Failure::Stopping);
            }
        }
    }

    /// Does what has been asked for; with nothing else to do, waits for it. `Err` at the end.
    fn obey_all(&mut self, commands: &Receiver<Command>) -> std::result::Result<(), ()> {
        if self.running.is_empty() && self.waiting.is_empty() {
            let command = commands.recv().map_err(drop)?;
            self.obey(command)?;
        }
        loop {
            match commands.try_recv() {
                Ok(command) => self.obey(command)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(()),
            }
        }
    }

    fn obey(&mut self, command: Command) -> std::result::Result<(), ()> {
        match command {
            Command::Submit(request) => self.take(*request),
            // Who asked may have gone.
            Command::Load(name, dir, answer) => drop(answer.send(self.load(&name, dir))),
            Command::Unload(name, answer) => drop(answer.send(self.unload(&name))),
            Command::Stop => return Err(()),
        }
        Ok(())
    }

    fn load(&mut self, name: &str, dir: PathBuf) -> Result<()> {
        let (model, config) = (&mut self.model, &self.config);
        self.adapters.load(model, config, name, &dir)?;
        *lock(&self.shared.adapters) = self.adapters.names();
        Ok(())
    }

    fn unload(&mut self, name: &str) -> bool {
        let Some(number) = self.adapters.unload(&mut self.model, name) else {
            return false;
        };
        *lock(&self.shared.adapters) = self.adapters.names();
        self.room.forget(number);
        let of_it = |sequence: &&mut Sequence| sequence.computed.adapter == Some(number);
        for sequence in self.running.iter_mut().filter(of_it) {
            sequence.fail(Failure::Unloaded);
            self.room.free(&sequence.computed);
        }
        // What they computed is no adapter's any more: it must not be kept.
        self.running.retain(|sequence| !sequence.has_ended);
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (gone, others): (VecDeque<Waiting>, _) =
            all.partition(|waiting| waiting.adapter == Some(number));
        self.waiting = others;
        for waiting in gone {
            self.refuse(waiting.request, Failure::Unloaded);
        }
        true
    }

    /// Queues a request.
    fn take(&mut self, request: Request) {
        let adapter = match &request.adapter {
            None => None,
            Some(name) => match self.adapters.number(name) {
                Some(number) => Some(number),
                // Unloaded since it was taken.
                None => return self.refuse(request, Failure::Unloaded),
            },
        };
        match self.model.row_positions(&request.prompt) {
            Ok(positions) => self.waiting.push_back(Waiting {
                request,
                adapter,
                positions,
                since: Instant::now(),
            }),
            Err(error) => self.refuse(request, Failure::Request(error.to_string())),
        }
    }

    /// Ends a request that has no place.
    fn refuse(&mut self, mut request: Request, failure: Failure) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        request.listener.tell(Event::Failed(failure));
    }

    /// Frees the places of those that nobody listens to.
    fn drop_gone(&mut self) {
        let waiting = self.waiting.len();
        self.waiting
            .retain(|waiting| !waiting.request.listener.is_gone());
        let gone = waiting - self.waiting.len();
        self.shared.waiting.fetch_sub(gone, Ordering::AcqRel);
        for sequence in &mut self.running {
            sequence.has_ended |= sequence.is_gone();
        }
        self.retire();
    }

    /// Takes out the sequences that have ended, and keeps what they computed.
    fn retire(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            match self.running[index].has_ended {
                true => {
                    let sequence = self.running.remove(index);
                    self.note_time(sequence.since);
                    self.room.keep(sequence.computed);
                }
                false => index += 1,
            }
        }
    }

    fn note_time(&mut self, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        let mean = &mut self.status.request_seconds;
        *mean = if *mean == 0.0 {
            seconds
        } else {
            0.9 * *mean + 0.1 * seconds
        };
    }

    /// Gives places to those that wait, in their order, as long as there is room.
    fn admit(&mut self) {
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.options.max_running {
            if self.is_worth_waiting(&self.waiting[index]) {
                index += 1;
                continue;
            }
            let computed = self.find_place(index);
            if computed.is_none() && !self.running.is_empty() {
                // Nobody overtakes the first that finds no room, or it would wait for ever.
                return;
            }
            match (self.waiting.remove(index), computed) {
                (Some(waiting), Some(computed)) => self.begin(waiting, computed),
                // There is never more room than now.
                (Some(waiting), None) => self.refuse(waiting.request, too_long()),
                (None, _) => return,
            }
        }
    }

    fn begin(&mut self, waiting: Waiting, computed: Computed) {
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        self.status.cached_tokens += computed.tokens.len() as u64;
        let Request {
            prompt,
            task,
            listener,
            ..
        } = waiting.request;
        let sequence = Sequence::new(computed, prompt, task, listener, waiting.since);
        self.running.push(sequence);
    }

    /// Whether a running sequence is about to compute much of a prompt's beginning: several answers to one prompt then
    /// compute it once.
    fn is_worth_waiting(&self, waiting: &Waiting) -> bool {
        if waiting.needs_all() {
            return false;
        }
        let (prompt, positions) = (&waiting.request.prompt, &waiting.positions);
        self.running.iter().any(|sequence| {
            sequence.is_in_prompt()
                && sequence.computed.adapter == waiting.adapter
                && shared_tokens(
                    &sequence.tokens,
                    &sequence.computed.positions,
                    prompt,
                    positions,
                ) >= sequence.done() + WORTH_WAITING
        })
    }

    /// A place for a request, with as much of its prompt computed as is to be had.
    fn find_place(&mut self, index: usize) -> Option<Computed> {
        let waiting = &self.waiting[index];
        let prompt = &waiting.request.prompt;
        let wanted = Wanted {
            adapter: waiting.adapter,
            prefix: self.adapters.prefix(waiting.adapter),
            prompt: if waiting.needs_all() { &[] } else { prompt },
            positions: waiting.positions,
            tokens: prompt.len() + waiting.request.task.max_new_tokens(),
        };
        let running = self.running.iter().map(|sequence| &sequence.computed);
        self.room.find(&wanted, running)
    }

    /// One pass.
    fn step(&mut self) {
        let pieces = self.choose();
        let started = Instant::now();
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let outputs = compute(&self.model, &mut self.room.arena, &self.running, &pieces)?;
            settle::<B>(&[self.model.device()])?;
            Ok::<_, Error>(outputs)
        }));
        match computed {
            Ok(Ok(outputs)) => {
                let prompts = prompt_tokens(&self.running, &pieces);
                self.pace.note(prompts, started.elapsed());
                self.status.prompt_tokens += prompts as u64;
                self.advance(&pieces, outputs);
            }
            Ok(Err(error)) => self.start_over(&Failure::Computation(error.to_string())),
            Err(_) => self.start_over(&Failure::Computation("the computation failed".to_string())),
        }
        self.retire();
    }

    /// The tokens of the next pass: one of each answer, and of prompts as many as there is time for.
    fn choose(&mut self) -> Vec<Piece> {
        let answers = self
            .running
            .iter()
            .filter(|sequence| !sequence.is_in_prompt())
            .count();
        let budget = self.pace.budget(answers > 0);
        let lengths = self
            .running
            .iter()
            .map(|sequence| match sequence.is_in_prompt() {
                true => sequence.remaining(),
                false => 0,
            });
        let shares = shares(&lengths.collect::<Vec<_>>(), budget);
        let mut pieces = Vec::with_capacity(self.running.len());
        for (index, (sequence, share)) in self.running.iter().zip(shares).enumerate() {
            let most = if sequence.is_in_prompt() { share } else { 1 };
            if most > 0 {
                pieces.push(Piece {
                    sequence: index,
                    tokens: sequence.piece(most),
                });
            }
        }
        // Rows of one adapter are computed together.
        pieces.sort_by_key(|piece| self.running[piece.sequence].computed.adapter);
        pieces
    }

    fn advance(&mut self, pieces: &[Piece], outputs: Vec<Output>) {
        self.status.steps += 1;
        let vocabulary = self.shared.limits.vocabulary;
        let mut work: Vec<Option<(std::ops::Range<usize>, Output)>> = Vec::new();
        work.resize_with(self.running.len(), || None);
        for (piece, output) in pieces.iter().zip(outputs) {
            work[piece.sequence] = Some((piece.tokens.clone(), output));
        }
        let drawn: u64 = self
            .running
            .par_iter_mut()
            .zip(work)
            .map(|(sequence, work)| match work {
                Some((tokens, output)) => advance_one(sequence, tokens, output, vocabulary),
                None => 0,
            })
            .sum();
        self.status.generated_tokens += drawn;
    }

    /// After a pass that failed, nothing in the arena can be relied on.
    fn start_over(&mut self, failure: &Failure) {
        tracing::error!("a step failed: {failure}");
        for sequence in &mut self.running {
            sequence.fail(failure.clone());
        }
        self.running.clear();
        self.room = Room::new(&self.model, &self.config, self.shared.limits.capacity);
    }

    fn fail_all(&mut self, failure: &Failure) {
        for sequence in &mut self.running {
            sequence.fail(failure.clone());
        }
        self.running.clear();
        while let Some(waiting) = self.waiting.pop_front() {
            self.refuse(waiting.request, failure.clone());
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.status.running = self.running.len();
        (self.status.used, self.status.kept) = self.room.taken();
        *lock(&self.shared.status) = self.status.clone();
    }
}

/// Why a request is refused that finds no room where nothing else is.
fn too_long() -> Failure {
    Failure::Request(
        "prompt, prefix and answer are longer than the cache of keys and values".to_string(),
    )
}

/// Tokens of prompts in a pass.
fn prompt_tokens(running: &[Sequence], pieces: &[Piece]) -> usize {
    let of_prompt = |piece: &&Piece| running[piece.sequence].is_in_prompt();
    pieces
        .iter()
        .filter(of_prompt)
        .map(|piece| piece.tokens.len())
        .sum()
}

/// Hands a sequence what its piece gave; a panic in it ends this sequence, not the engine. Gives the tokens drawn.
fn advance_one(
    sequence: &mut Sequence,
    tokens: std::ops::Range<usize>,
    output: Output,
    vocabulary: usize,
) -> u64 {
    let before = sequence.tokens.len();
    let advanced = catch_unwind(AssertUnwindSafe(|| match output {
        Output::Logits(mut logits) => sequence.advance(tokens, &mut logits, vocabulary),
        Output::HiddenSum(values) => sequence.add_hidden(tokens, values),
    }));
    if advanced.is_err() {
        sequence.fail(Failure::Computation("the request failed".to_string()));
    }
    (sequence.tokens.len() - before) as u64
}

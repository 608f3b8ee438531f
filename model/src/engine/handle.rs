//! The side of an engine that others hold.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::request::{Refusal, Request};
use crate::error::{Error, Result};

/// What bounds the requests of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Tokens whose keys and values fit, of all sequences together.
    pub capacity: usize,
    /// Most tokens of a sequence.
    pub max_sequence: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Most requests that wait.
    pub max_waiting: usize,
}

/// What an engine is doing, for those who watch it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EngineStatus {
    /// Sequences that have a place.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Tokens whose keys and values fit.
    pub capacity: usize,
    /// Tokens whose places running sequences hold.
    pub used: usize,
    /// Tokens that are kept of sequences that have ended.
    pub kept: usize,
    /// Steps so far.
    pub steps: u64,
    /// Tokens of prompts computed so far.
    pub prompt_tokens: u64,
    /// Tokens of prompts taken from earlier requests so far.
    pub cached_tokens: u64,
    /// Tokens drawn so far.
    pub generated_tokens: u64,
    /// Whether it has ended, or is about to: nothing is taken any more.
    pub has_ended: bool,
    /// Mean time of a request of late, from its beginning to its end, in seconds.
    pub request_seconds: f64,
}

/// What the engine's thread is told.
pub(super) enum Command {
    Submit(Box<Request>),
    Load(String, PathBuf, SyncSender<Result<()>>),
    Unload(String, SyncSender<bool>),
    Stop,
}

/// What both sides see.
#[derive(Debug)]
pub(super) struct Shared {
    pub limits: EngineLimits,
    pub waiting: AtomicUsize,
    pub adapters: Mutex<Vec<String>>,
    pub status: Mutex<EngineStatus>,
    pub is_stopping: AtomicBool,
}

impl Shared {
    pub fn new(limits: EngineLimits) -> Self {
        let status = EngineStatus {
            capacity: limits.capacity,
            ..EngineStatus::default()
        };
        Self {
            limits,
            waiting: AtomicUsize::new(0),
            adapters: Mutex::new(Vec::new()),
            status: Mutex::new(status),
            is_stopping: AtomicBool::new(false),
        }
    }
}

/// What another thread left behind when it failed is as whole as it ever is.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine, from any thread.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    sender: Sender<Command>,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl EngineHandle {
    pub(super) fn new(shared: Arc<Shared>) -> (Self, Receiver<Command>) {
        let (sender, receiver) = channel();
        let thread = Arc::new(Mutex::new(None));
        let handle = Self {
            sender,
            shared,
            thread,
        };
        (handle, receiver)
    }

    /// Takes the engine's thread, to wait for its end.
    pub(super) fn own(&self, thread: JoinHandle<()>) {
        *lock(&self.thread) = Some(thread);
    }

    /// What bounds its requests.
    pub fn limits(&self) -> EngineLimits {
        self.shared.limits
    }

    /// The names of the adapters that are loaded.
    pub fn adapters(&self) -> Vec<String> {
        lock(&self.shared.adapters).clone()
    }

    /// What it is doing.
    pub fn status(&self) -> EngineStatus {
        let mut status = lock(&self.shared.status).clone();
        status.waiting = self.shared.waiting.load(Ordering::Relaxed);
        status.has_ended = self.shared.is_stopping.load(Ordering::Acquire);
        status
    }

    /// Takes a request, which waits for its turn; its listener is told of it.
    ///
    /// # Errors
    /// If it cannot be taken, or not now.
    pub fn submit(&self, request: Request) -> std::result::Result<(), Refusal> {
        self.check(&request)?;
        let limit = self.shared.limits.max_waiting;
        let more = |waiting| (waiting < limit).then_some(waiting + 1);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let taken = self.shared.waiting.fetch_update(set, get, more);
        if let Err(waiting) = taken {
            return Err(self.full(waiting));
        }
        let command = Command::Submit(Box::new(request));
        self.sender.send(command).map_err(|_| Refusal::Stopping)
    }

    fn full(&self, waiting: usize) -> Refusal {
        let seconds = lock(&self.shared.status).request_seconds.clamp(1.0, 60.0);
        Refusal::Full {
            waiting,
            retry_after: Duration::from_secs_f64(seconds),
        }
    }

    fn check(&self, request: &Request) -> std::result::Result<(), Refusal> {
        if self.shared.is_stopping.load(Ordering::Acquire) {
            return Err(Refusal::Stopping);
        }
        let limits = self.shared.limits;
        if let Some(name) = &request.adapter
            && !lock(&self.shared.adapters).contains(name)
        {
            return Err(Refusal::UnknownAdapter(name.clone()));
        }
        if request.prompt.is_empty() {
            return Err(Refusal::Request("the prompt has no tokens".to_string()));
        }
        let outside = |id: &&u32| **id as usize >= limits.vocabulary;
        if let Some(id) = request.prompt.iter().find(outside) {
            let vocabulary = limits.vocabulary;
            return Err(Refusal::Request(format!(
                "token {id} of the prompt is outside the model's vocabulary of {vocabulary}"
            )));
        }
        let tokens = request.prompt.len() + request.task.max_new_tokens();
        match tokens > limits.max_sequence {
            true => Err(Refusal::TooLong {
                tokens,
                limit: limits.max_sequence,
            }),
            false => Ok(()),
        }
    }

    /// Loads the adapter of a directory under a name, between two steps.
    ///
    /// # Errors
    /// If the name is taken, the directory holds no adapter that fits the model, or the engine has ended.
    pub fn load(&self, name: &str, dir: PathBuf) -> Result<()> {
        let (sender, receiver) = sync_channel(1);
        self.ask(Command::Load(name.to_string(), dir, sender), &receiver)?
    }

    /// Unloads an adapter; its requests end. `false` if no adapter has the name.
    ///
    /// # Errors
    /// If the engine has ended.
    pub fn unload(&self, name: &str) -> Result<bool> {
        let (sender, receiver) = sync_channel(1);
        self.ask(Command::Unload(name.to_string(), sender), &receiver)
    }

    fn ask<T>(&self, command: Command, answer: &Receiver<T>) -> Result<T> {
        let ended = || Error::Request("the engine has ended".to_string());
        self.sender.send(command).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())
    }

    /// Ends the engine after the step at hand: what is not done fails.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        // It may have ended already.
        let _ = self.sender.send(Command::Stop);
    }

    /// Waits until the engine, which was told to [`stop`](Self::stop), has ended.
    pub fn join(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic of the thread has been told where it happened.
            let _ = thread.join();
        }
    }
}

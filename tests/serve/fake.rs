//! An engine of one thread that says what it is told to say, a byte at a time, to many requests at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use glmtune::model::engine::{
    EngineLimits, EngineStatus, Event, Failure, Refusal, Request, Task, TokenScore,
};
use glmtune::model::generation::{Drawing, Finish};
use glmtune::serve::Engine;

/// What the fake was asked for.
#[derive(Debug, Clone)]
pub struct Seen {
    pub adapter: Option<String>,
    pub prompt: Vec<u32>,
    pub max_new_tokens: usize,
    pub drawing: Option<Drawing>,
    /// Whether the answer must have a form.
    pub is_bound: bool,
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Script {
    /// With this text.
    Say(Vec<u8>),
    /// Without an end.
    Endless,
    /// Not at all.
    Silence,
    /// With a beginning, and then it fails.
    Fail(Vec<u8>, Failure),
    /// It panics when it is asked.
    Panic,
}

pub struct FakeEngine {
    script: Script,
    pub limits: EngineLimits,
    /// Time between two tokens.
    pub pace: Duration,
    sender: Mutex<Sender<Request>>,
    receiver: Mutex<Option<Receiver<Request>>>,
    active: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
    pub seen: Mutex<Vec<Seen>>,
    pub adapters: Mutex<Vec<(String, PathBuf)>>,
}

impl FakeEngine {
    pub fn new(script: Script) -> Self {
        let (sender, receiver) = channel();
        Self {
            script,
            limits: EngineLimits {
                capacity: 4096,
                max_sequence: 1024,
                vocabulary: 280,
                max_waiting: 256,
            },
            pace: Duration::ZERO,
            sender: Mutex::new(sender),
            receiver: Mutex::new(Some(receiver)),
            active: Arc::default(),
            is_stopping: Arc::default(),
            seen: Mutex::default(),
            adapters: Mutex::default(),
        }
    }

    pub fn saying(text: &str) -> Self {
        Self::new(Script::Say(text.as_bytes().to_vec()))
    }

    /// Requests that are being answered.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    /// Waits until so many requests are being answered.
    pub fn wait_for(&self, active: usize) {
        for _ in 0..1000 {
            if self.active() == active {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{} requests are active, not {active}", self.active());
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    /// Starts the thread, which ends with the engine.
    pub fn run(&self) {
        let receiver = self.receiver.lock().unwrap().take().unwrap();
        let (script, pace) = (self.script.clone(), self.pace);
        let (active, is_stopping) = (self.active.clone(), self.is_stopping.clone());
        std::thread::spawn(move || work(&receiver, &script, pace, &active, &is_stopping));
    }
}

struct Running {
    request: Request,
    said: usize,
}

fn work(
    receiver: &Receiver<Request>,
    script: &Script,
    pace: Duration,
    active: &AtomicUsize,
    is_stopping: &AtomicBool,
) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let new = match running.is_empty() {
            true => match receiver.recv() {
                Ok(request) => Some(request),
                Err(_) => return,
            },
            false => receiver.try_recv().ok(),
        };
        for mut request in new.into_iter().chain(receiver.try_iter()) {
            begin(&mut request);
            running.push(Running { request, said: 0 });
        }
        let before = running.len();
        let stops = is_stopping.load(Ordering::SeqCst);
        running.retain_mut(|one| {
            if stops {
                one.request.listener.tell(Event::Failed(Failure::Stopping));
                return false;
            }
            !one.request.listener.is_gone() && step(one, script)
        });
        active.fetch_sub(before - running.len(), Ordering::SeqCst);
        let idle = matches!(script, Script::Silence | Script::Endless);
        let rest = if idle {
            Duration::from_millis(2)
        } else {
            Duration::ZERO
        };
        std::thread::sleep(pace.max(rest));
    }
}

fn begin(request: &mut Request) {
    request.listener.tell(Event::Started { cached: 1 });
    let Task::Continue(continuation) = &request.task else {
        return;
    };
    if let (true, Some(count)) = (continuation.scores_prompt, continuation.scores) {
        let scores = request.prompt.iter().enumerate();
        let scores = scores.map(|(at, &token)| (at > 0).then(|| score(token, count)));
        request.listener.tell(Event::PromptScores(scores.collect()));
    }
}

/// A token of a byte is as likely as its number says.
pub fn score(token: u32, count: usize) -> TokenScore {
    let log_probability = -(token as f32) / 256.0;
    TokenScore {
        log_probability,
        likeliest: (0..count as u32)
            .map(|at| (token + at, log_probability - at as f32))
            .collect(),
    }
}

/// One token more; `false` at the end.
fn step(one: &mut Running, script: &Script) -> bool {
    let Task::Continue(continuation) = &one.request.task else {
        let length = one.request.prompt.len() as f32;
        one.request
            .listener
            .tell(Event::Embedding(vec![length, -0.5, 0.0]));
        return false;
    };
    if one.said >= continuation.max_new_tokens {
        one.request.listener.tell(Event::Ended(Finish::Length));
        return false;
    }
    let (text, end): (&[u8], _) = match script {
        Script::Say(text) => (text, Event::Ended(Finish::Stop)),
        Script::Fail(text, failure) => (text, Event::Failed(failure.clone())),
        Script::Endless => {
            tell(one, u32::from(b'a'));
            return true;
        }
        Script::Silence => return true,
        Script::Panic => return false,
    };
    match text.get(one.said) {
        Some(&byte) => {
            tell(one, u32::from(byte));
            true
        }
        None => {
            one.request.listener.tell(end);
            false
        }
    }
}

fn tell(one: &mut Running, token: u32) {
    let Task::Continue(continuation) = &one.request.task else {
        return;
    };
    let score = continuation.scores.map(|count| score(token, count));
    one.said += 1;
    one.request.listener.tell(Event::Token { token, score });
}

impl Engine for FakeEngine {
    fn limits(&self) -> EngineLimits {
        self.limits
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            running: self.active(),
            capacity: self.limits.capacity,
            ..EngineStatus::default()
        }
    }

    fn submit(&self, request: Request) -> Result<(), Refusal> {
        assert!(
            !matches!(self.script, Script::Panic),
            "a fault of the engine"
        );
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(Refusal::Stopping);
        }
        if request.prompt.is_empty() {
            return Err(Refusal::Request("the prompt has no tokens".to_string()));
        }
        let vocabulary = self.limits.vocabulary;
        if request
            .prompt
            .iter()
            .any(|&token| token as usize >= vocabulary)
        {
            return Err(Refusal::Request(
                "a token is outside the vocabulary".to_string(),
            ));
        }
        let tokens = request.prompt.len() + request.task.max_new_tokens();
        if tokens > self.limits.max_sequence {
            let limit = self.limits.max_sequence;
            return Err(Refusal::TooLong { tokens, limit });
        }
        if self.active() >= self.limits.max_waiting {
            return Err(Refusal::Full {
                waiting: self.active(),
                retry_after: Duration::from_millis(2500),
            });
        }
        let is_bound = matches!(&request.task, Task::Continue(it) if it.constraint.is_some());
        let drawing = match &request.task {
            Task::Continue(continuation) => Some(continuation.drawing.clone()),
            Task::Embed => None,
        };
        self.seen.lock().unwrap().push(Seen {
            adapter: request.adapter.clone(),
            prompt: request.prompt.clone(),
            max_new_tokens: request.task.max_new_tokens(),
            drawing,
            is_bound,
        });
        self.active.fetch_add(1, Ordering::SeqCst);
        self.sender
            .lock()
            .unwrap()
            .send(request)
            .map_err(|_| Refusal::Stopping)
    }

    fn load(&self, name: &str, dir: PathBuf) -> glmtune::model::Result<()> {
        self.adapters.lock().unwrap().push((name.to_string(), dir));
        Ok(())
    }

    fn unload(&self, name: &str) -> glmtune::model::Result<bool> {
        let mut adapters = self.adapters.lock().unwrap();
        let before = adapters.len();
        adapters.retain(|(other, _)| other != name);
        Ok(adapters.len() < before)
    }

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }
}

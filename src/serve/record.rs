//! What the log and the numbers say of a request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::usage::Usage;

/// A request on its way: when it came, and what it has used so far.
#[derive(Debug)]
pub struct Record {
    began: Instant,
    prompt: AtomicUsize,
    cached: AtomicUsize,
    completion: AtomicUsize,
}

impl Record {
    /// A request that comes now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            prompt: AtomicUsize::new(0),
            cached: AtomicUsize::new(0),
            completion: AtomicUsize::new(0),
        }
    }

    /// When it came.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Notes what it has used.
    pub fn note(&self, usage: Usage) {
        self.prompt.store(usage.prompt, Ordering::Relaxed);
        self.cached.store(usage.cached, Ordering::Relaxed);
        self.completion.store(usage.completion, Ordering::Relaxed);
    }

    /// What it has used.
    pub fn usage(&self) -> Usage {
        Usage {
            prompt: self.prompt.load(Ordering::Relaxed),
            cached: self.cached.load(Ordering::Relaxed),
            completion: self.completion.load(Ordering::Relaxed),
        }
    }
}

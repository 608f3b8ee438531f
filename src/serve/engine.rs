//! What the server needs of an engine.

use std::path::PathBuf;

use glmtune_model::engine::{EngineHandle, EngineLimits, EngineStatus, Refusal, Request};

/// What does the work. Every call returns at once, but for loading and unloading.
pub trait Engine: Send + Sync + 'static {
    /// What bounds its requests.
    fn limits(&self) -> EngineLimits;

    /// What it is doing.
    fn status(&self) -> EngineStatus;

    /// Takes a request, whose listener is told of it.
    ///
    /// # Errors
    /// If it cannot be taken, or not now.
    fn submit(&self, request: Request) -> Result<(), Refusal>;

    /// Loads the adapter of a directory under a name.
    ///
    /// # Errors
    /// If it is none, or does not fit.
    fn load(&self, name: &str, dir: PathBuf) -> glmtune_model::Result<()>;

    /// Unloads an adapter; `false` if no adapter has the name.
    ///
    /// # Errors
    /// If the engine has ended.
    fn unload(&self, name: &str) -> glmtune_model::Result<bool>;

    /// Ends it: what is not done fails.
    fn stop(&self);
}

impl Engine for EngineHandle {
    fn limits(&self) -> EngineLimits {
        Self::limits(self)
    }

    fn status(&self) -> EngineStatus {
        Self::status(self)
    }

    fn submit(&self, request: Request) -> Result<(), Refusal> {
        Self::submit(self, request)
    }

    fn load(&self, name: &str, dir: PathBuf) -> glmtune_model::Result<()> {
        Self::load(self, name, dir)
    }

    fn unload(&self, name: &str) -> glmtune_model::Result<bool> {
        Self::unload(self, name)
    }

    fn stop(&self) {
        Self::stop(self);
    }
}

//! What most programs need: `use glmtune::prelude::*`.

pub use glmtune_model::generation::{GenerationOptions, Sampling, generate};
pub use glmtune_model::init::{InitSettings, init};
pub use glmtune_model::model_info::ModelSource;
pub use glmtune_model::presets::Preset;
pub use glmtune_model::tokenizer::{Message, Mode, Role, Tokenizer};
pub use glmtune_model::{CausalLm, FloatType, GlmBackend, ModelConfig, ModelInfo};
pub use glmtune_training::checkpoint::Resume;
pub use glmtune_training::data::{Dataset, ReadOptions};
pub use glmtune_training::observer::{Event, Observer, Observers};
pub use glmtune_training::report::{Lines, MetricsFile};
pub use glmtune_training::run::{Outcome, Preparation};
pub use glmtune_training::saving::OutputDir;
pub use glmtune_training::settings::{Method, TrainSettings};
pub use glmtune_training::{Training, TrainingBackend, TrainingRequest};

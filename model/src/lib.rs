//! What a ChatGLM is: configuration, layers, adapters, tokenizers, prompts, rows, checkpoint
//! files and generation.
//!
//! The crate is generic over the backend and knows nothing of training. Its neighbours are
//! `glmtune-training` and `glmtune-eval`, which build on it, and the `glmtune` facade, which picks a
//! backend.

pub mod adapters;
pub mod architecture;
pub mod attach;
pub mod batch;
pub mod causal_lm;
pub mod chatglm;
pub mod chatglm2;
pub mod checkpoint;
pub mod config;
pub mod device_health;
pub mod device_parts;
pub mod digest;
pub mod engine;
pub mod error;
pub mod files;
pub mod float_type;
pub mod generation;
pub mod host_weights;
pub mod init;
pub mod json_settings;
pub mod layers;
pub mod memory;
pub mod merge;
pub mod model_info;
pub mod near_names;
pub mod parameters;
pub mod presets;
pub mod pretrained;
pub mod printable;
pub mod process;
pub mod random_weights;
pub mod resident;
pub mod rope_ratio;
pub mod rows;
pub mod segment;
mod tensor_target;
pub mod tokenizer;
pub mod trainable;

pub use architecture::BuildOptions;
pub use batch::{Padding, TokenBatch};
pub use causal_lm::CausalLm;
pub use config::ModelConfig;
pub use error::{Error, Result};
pub use float_type::FloatType;
pub use layers::GlmBackend;
pub use model_info::ModelInfo;
pub use segment::Segment;

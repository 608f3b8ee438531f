//! A model before any of its weights is read: configuration, tokenizer, prompt mode, and whether the adapters
//! that go on it are its own.

mod base;
mod mode;
mod note;

pub use base::{check_bases, require_directory, require_model};
pub use mode::{choose_mode, noted_mode};
pub use note::Note;

use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;

use crate::adapters::AdapterMeta;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::float_type::FloatType;
use crate::pretrained::{LoadProgress, Pretrained};
use crate::rows::Prompting;
use crate::tokenizer::{Mode, PromptFormat, Tokenizer};

/// A model directory, and what is to go on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// The model directory.
    pub dir: PathBuf,
    /// Adapters: several LoRA adapters add up.
    pub adapters: Vec<PathBuf>,
    /// The prompt mode; by default the tokenizer tells.
    pub mode: Option<Mode>,
    /// Whether adapters may be put on other weights than those that they were trained on.
    pub force: bool,
}

impl ModelSource {
    /// A model without adapters.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ..Self::default()
        }
    }

    /// The same with one more adapter.
    #[must_use]
    pub fn with_adapter(mut self, dir: impl Into<PathBuf>) -> Self {
        self.adapters.push(dir.into());
        self
    }
}

/// What is known of a model before any of its weights is read.
#[derive(Debug)]
pub struct ModelInfo {
    /// Its configuration.
    pub config: ModelConfig,
    /// Its tokenizer; small test models come without.
    pub tokenizer: Option<Tokenizer>,
    /// Prompt and row format.
    pub mode: Mode,
    /// glmtune's notes in the adapters' directories, then in the model's.
    notes: Vec<AdapterMeta>,
    source: ModelSource,
}

impl ModelInfo {
    /// Reads configuration and tokenizer, and checks that the adapters were trained on this model and in its
    /// prompt mode.
    ///
    /// # Errors
    /// If a file is missing or wrong, or model, tokenizer, mode and adapters do not fit each other.
    pub fn read(source: ModelSource, note: Note<'_>) -> Result<Self> {
        let dir = &source.dir;
        require_model(dir)?;
        let config = ModelConfig::from_dir(dir)?;
        let asked = source.mode.or(noted_mode(dir)?);
        let tokenizer = Tokenizer::find(dir, asked)?;
        let asked = match &tokenizer {
            None => asked.or(mode::noted_by_one(&source.adapters)?),
            Some(_) => asked,
        };
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_fits(&config, dir)?;
        }
        let mode = choose_mode(asked, tokenizer.as_ref(), &config);
        if asked.is_none() && tokenizer.is_none() {
            mode::note_assumed(dir, &config, note);
        }
        mode::check_architecture(dir, mode, &config)?;
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_mode(dir, mode)?;
        }
        mode::check_trained_mode(dir, mode)?;
        for adapter in &source.adapters {
            require_directory(adapter)?;
            mode::check_trained_mode(adapter, mode)?;
        }
        check_bases(dir, &source.adapters, source.force, note)?;
        let noted = source.adapters.iter().chain([dir]);
        let notes: Vec<_> = noted
            .map(|dir| AdapterMeta::read(dir))
            .collect::<Result<_>>()?;
        Ok(Self {
            config,
            tokenizer,
            mode,
            notes: notes.into_iter().flatten().collect(),
            source,
        })
    }

    /// Reads a model without adapters.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        Self::read(ModelSource::new(dir), &mut |_| ())
    }

    /// Reads the weights and attaches the adapters. `progress` is called before each tensor.
    ///
    /// # Errors
    /// If a file is wrong, or weights and adapters do not fit the configuration.
    pub fn load<B: Backend>(
        &self,
        dtype: FloatType,
        device: &B::Device,
        progress: LoadProgress<'_>,
    ) -> Result<CausalLm<B>> {
        let (mode, dtype) = (Some(self.mode), dtype.into());
        let mut pretrained = Pretrained::load(&self.source.dir, mode, dtype, device, progress)?;
        for adapter in &self.source.adapters {
            pretrained.attach(adapter, dtype, device)?;
        }
        Ok(pretrained.model)
    }

    /// The model directory.
    pub fn dir(&self) -> &Path {
        &self.source.dir
    }

    /// The adapters that go on it.
    pub fn adapters(&self) -> &[PathBuf] {
        &self.source.adapters
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If the directory has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::Request(format!(
                "{}: no tokenizer here (ice_text.model, tokenizer.model or tokenizer.json); \
                 only token ids can be used with this model",
                self.dir().display()
            ))
        })
    }

    /// How questions become prompts: as in the training if the model was tuned here, else as published, and
    /// whatever it is as `asked`.
    pub fn prompting(&self, asked: Option<PromptFormat>) -> Prompting {
        Prompting::of(self.mode, &self.notes, asked)
    }

    /// Ids that end a generation: those of the configuration and those of the prompt mode.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.config.common().eos_token_ids.clone();
        if let Some(tokenizer) = &self.tokenizer {
            ids.extend(tokenizer.stop_ids(self.mode));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

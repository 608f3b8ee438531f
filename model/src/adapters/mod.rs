//! Adapters: few parameters beside those of a base model, trained in their place. Each kind is a folder of its
//! own, which says what the adapter computes, what its parameters are called and how large they are, how it is
//! stored, and how it is folded into a base; the enums here join the kinds, and everyone else asks.
//!
//! An adapter is off until it is attached, and changes no base weight.

mod declaration;
mod digest;
mod format;
mod linear_call;
mod lora;
mod meta;
mod prefix;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::error::{Error, Result};
use crate::layers::GlmBackend;
use declaration::Declaration;

pub use format::FileFormat;
pub use linear_call::{HeadOperands, LinearCall, ProjectionAdapter};
pub use lora::config::LoraConfig;
pub use lora::dir::{LoraAdapter, LoraPair, write_lora_adapter};
pub use lora::pattern::{Patterns, TargetModules};
pub use lora::{Lora, LoraFactor, LoraSettings};
pub use meta::AdapterMeta;
pub use prefix::dir::{PrefixAdapter, write_prefix_adapter};
pub use prefix::{PREFIX_ENCODER, PrefixDropout, PrefixEncoder, PrefixKeyValues, PrefixShape};

/// The kinds of adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// Low-rank factors on linear layers.
    Lora,
    /// Keys and values before those of every sequence.
    Prefix,
}

impl AdapterKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lora, Self::Prefix];

    fn declaration(self) -> &'static Declaration {
        match self {
            Self::Lora => &lora::DECLARATION,
            Self::Prefix => &prefix::DECLARATION,
        }
    }

    /// The name of the training that makes one: `lora`, `ptuning`.
    pub fn name(self) -> &'static str {
        self.declaration().name
    }

    /// What one is called in a sentence: `a LoRA adapter`.
    pub fn title(self) -> &'static str {
        self.declaration().title
    }

    /// Whether a parameter of a model belongs to an adapter of this kind.
    pub fn owns(self, path: &str) -> bool {
        (self.declaration().owns)(path)
    }

    /// The kind that a parameter belongs to; none for one of the base model.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.owns(path))
    }

    /// What tells the adapter of a directory from another one: another training of it, or another scale, gives
    /// another digest.
    ///
    /// # Errors
    /// If the directory holds no adapter of this kind, or it cannot be read.
    pub fn digest(self, dir: &Path) -> Result<String> {
        digest::of(dir, self.declaration())
    }

    /// Tells what a directory holds, by its settings file.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] if it holds none, telling what was looked for; [`Error::Json`] if a settings file
    /// cannot be parsed.
    pub fn detect(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::directory(dir, "not a directory; an adapter is one"));
        }
        for kind in Self::ALL {
            if (kind.declaration().is_in)(dir)? {
                return Ok(kind);
            }
        }
        let marks = Self::ALL
            .map(|kind| kind.declaration().mark)
            .join(" and for ");
        let detail = format!("no adapter here: looked for {marks}");
        Err(Error::directory(dir, detail))
    }
}

/// An adapter of a linear layer.
#[derive(Module, Debug)]
pub enum Adapter<B: Backend> {
    /// Low-rank factors.
    Lora(Lora<B>),
}

impl<B: GlmBackend> Adapter<B> {
    /// The output of the layer with the adapter.
    ///
    /// # Shapes
    /// - result: `[rows, out]`
    pub fn forward(&self, call: LinearCall<B>) -> Tensor<B, 2> {
        match self {
            Self::Lora(lora) => lora.forward(call),
        }
    }

    /// The output layer with the adapter, for a loss that never has all logits at once.
    pub fn head_operands(&self, call: LinearCall<B>) -> HeadOperands<B> {
        match self {
            Self::Lora(lora) => lora.head_operands(call),
        }
    }
}

impl<B: Backend> Adapter<B> {
    /// Two adapters of one layer as one that adds what both add.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lora(one), Self::Lora(other)) => Self::Lora(one.plus(other)),
        }
    }

    /// Sets the share of the input's elements that training drops.
    pub fn set_dropout(&mut self, rate: f64) {
        match self {
            Self::Lora(lora) => lora.dropout = rate,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        let message = AdapterKind::detect(dir).expect_err("empty").to_string();
        assert!(message.contains("adapter_config.json") && message.contains("pre_seq_len"));
        put("config.json", r#"{"pre_seq_len": null}"#);
        assert!(AdapterKind::detect(dir).is_err());
        put("config.json", r#"{"pre_seq_len": 128}"#);
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Prefix);
        put("adapter_config.json", "{}");
        assert_eq!(AdapterKind::detect(dir).unwrap(), AdapterKind::Lora);
        assert!(AdapterKind::detect(&dir.join("config.json")).is_err());
    }

    #[test]
    fn parameters_belong_to_a_kind() {
        for (path, kind) in [
            (
                "transformer.layers.0.attention.dense.lora.lora_A.weight",
                Some(AdapterKind::Lora),
            ),
            (
                "transformer.prefix_encoder.trans.0.bias",
                Some(AdapterKind::Prefix),
            ),
            ("transformer.layers.0.attention.dense.weight", None),
        ] {
            assert_eq!(AdapterKind::of(path), kind, "{path}");
        }
    }
}
